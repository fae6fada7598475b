"""The configuration of gunicorn, which loads this file from the folder that it starts in."""

import resource

worker_class = "kalshi_insights.serving.worker.BoundedWorker"
worker_connections = 1_000
asgi_loop = "asyncio"
asgi_lifespan = "off"
# A request whose client has disconnected is cancelled at once.
asgi_disconnect_grace_period = 0
# kalshi_insights.middleware.proxies alone decides which forwarding headers are believed.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""

# Each connection is an open file, of which many systems allow a process no more than 1,024.
_now, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
_wanted = max(_now, worker_connections + 500)
_allowed = _wanted if _most == resource.RLIM_INFINITY else min(_wanted, _most)
resource.setrlimit(resource.RLIMIT_NOFILE, (_allowed, _most))
