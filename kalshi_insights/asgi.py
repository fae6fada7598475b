"""The ASGI application, for gunicorn."""

from kalshi_insights.serving.site import ThreadedSite
from kalshi_insights.wsgi import application as wsgi_application

application = ThreadedSite(wsgi_application)
