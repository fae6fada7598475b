"""The watch-lists of users."""

from django.conf import settings
from django.db import models

from markets.models.markets import Market


class Watch(models.Model):
    """A market on a user's watch-list; watched markets are hot."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="watches"
    )
    market = models.ForeignKey(Market, on_delete=models.CASCADE, related_name="watches")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "watches"
        constraints = [models.UniqueConstraint(fields=["user", "market"], name="watch_once")]

    def __str__(self) -> str:
        return f"{self.user} watches {self.market}"
