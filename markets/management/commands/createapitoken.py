from argparse import ArgumentParser

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from rest_framework.authtoken.models import Token


class Command(BaseCommand):
    help = "Create and print an API token, for the header Authorization: Token <token>."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--rotate", action="store_true", help="replace the user's token")

    @transaction.atomic
    def handle(self, *, username: str, rotate: bool, **options: object) -> str:
        user = User.objects.select_for_update().filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user {username}.")
        existing = Token.objects.filter(user=user)
        if rotate:
            existing.delete()
        elif existing.exists():
            raise CommandError(f"{username} has a token already; --rotate replaces it.")
        token: str = Token.objects.create(user=user).key
        return token
