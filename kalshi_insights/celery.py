"""The Celery application: `celery -A kalshi_insights worker -Q recorder -c 1`, `… beat`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kalshi_insights.settings")
app = Celery("kalshi_insights")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
