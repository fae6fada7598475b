from argparse import ArgumentParser

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from rest_framework.authtoken.models import Token


class Command(BaseCommand):
    help = "Make a user's token for the API and print it: Authorization: Token <it>."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--rotate", action="store_true", help="in the place of the old one")

    @transaction.atomic
    def handle(self, *, username: str, rotate: bool, **options: object) -> str:
        user = User.objects.select_for_update().filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user {username}.")
        held = Token.objects.filter(user=user)
        if rotate:
            held.delete()
        elif held.exists():
            raise CommandError(f"{username} has a token already; --rotate makes a new one.")
        token: str = Token.objects.create(user=user).key
        return token
