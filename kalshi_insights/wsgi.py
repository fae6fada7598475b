"""The WSGI application, for gunicorn."""

import os

from django.core.wsgi import get_wsgi_application

from kalshi_insights.session_limits import limit_web_sessions

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kalshi_insights.settings")
application = get_wsgi_application()
limit_web_sessions()
