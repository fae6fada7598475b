"""The WSGI application, which `kalshi_insights.asgi` serves in threads."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kalshi_insights.settings")
application = get_wsgi_application()
