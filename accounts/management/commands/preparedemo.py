import io
import json
import secrets

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = (
        "For `make demo`: migrate the database, and give the user demo, who may do everything, a"
        " new password and a new token. Prints both as JSON."
    )
    # They load every page, and the demo is being waited for.
    requires_system_checks = []

    def handle(self, **options: object) -> str:
        if settings.ENVIRONMENT != "development":
            raise CommandError("The demo's user has a password that is printed: for development.")
        call_command("migrate", interactive=False, verbosity=0)
        password = secrets.token_urlsafe(9)
        user, _ = User.objects.update_or_create(
            username="demo", defaults={"is_staff": True, "is_superuser": True}
        )
        user.set_password(password)
        user.save()
        token = call_command(
            *("createapitoken", "demo", "--name", "demo", "--scope", "backtest", "--rotate"),
            stdout=io.StringIO(),
        )
        return json.dumps({"password": password, "token": token})
