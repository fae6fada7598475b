"""The WSGI application, which `kalshi_insights.asgi` serves in threads."""

import os
from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

from kalshi_insights.processes.session_limits import limit_web_sessions


class Utf8Request(WSGIRequest):
    """A request whose text is UTF-8, whatever charset it names.

    Django would decode the query by that charset, even by one that is for no text, before any
    middleware could refuse it.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        kind = meta.get("CONTENT_TYPE", "")
        self.content_type, self.content_params = parse_header_parameters(kind)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kalshi_insights.settings")
application = get_wsgi_application()
limit_web_sessions()
application.request_class = Utf8Request
