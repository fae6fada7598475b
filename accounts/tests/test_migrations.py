"""The tokens of before end, and leave nothing behind."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

NEW_TOKENS = ("accounts", "0001_api_tokens")
END_OF_OLD = ("accounts", "0002_end_old_tokens")
ADMIN = ("admin", "0003_logentry_add_action_flag_choices")


@pytest.fixture
def cursor(db):
    """A cursor on an empty schema, which the end of the test's transaction removes."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA anew")
        cursor.execute("SET LOCAL search_path TO anew")
        yield cursor


def migrate_to(*targets):
    executor = MigrationExecutor(connection)
    executor.migrate(list(targets))
    return executor.loader.project_state(list(targets)).apps


def install_old_tokens(cursor, apps):
    """Leave what rest_framework.authtoken left in a database."""
    cursor.execute(
        "CREATE TABLE authtoken_token (key varchar(40) PRIMARY KEY, created timestamptz NOT NULL,"
        " user_id integer NOT NULL UNIQUE REFERENCES auth_user DEFERRABLE INITIALLY DEFERRED)"
    )
    cursor.execute(
        "INSERT INTO django_migrations (app, name, applied)"
        " VALUES ('authtoken', '0001_initial', now())"
    )
    model = {name: apps.get_model("auth", name) for name in ("User", "Group", "Permission")}
    kind = apps.get_model("contenttypes", "ContentType").objects.create(
        app_label="authtoken", model="token"
    )
    permission = model["Permission"].objects.create(
        content_type=kind, codename="add_token", name="Can add Token"
    )
    user = model["User"].objects.create(username="ada")
    user.user_permissions.add(permission)
    apps.get_model("admin", "LogEntry").objects.create(
        user=user, content_type=kind, object_repr="t", action_flag=1
    )
    cursor.execute("INSERT INTO authtoken_token VALUES ('secret', now(), %s)", [user.pk])


def test_the_old_tokens_are_dropped_with_all_that_django_noted_of_them(cursor):
    apps = migrate_to(NEW_TOKENS, ADMIN)
    install_old_tokens(cursor, apps)
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    apps = migrate_to(END_OF_OLD)
    cursor.execute("SELECT to_regclass('authtoken_token')")
    assert cursor.fetchone() == (None,)
    for table, condition in (
        ("django_migrations", "app = 'authtoken'"),
        ("django_content_type", "app_label = 'authtoken'"),
        ("auth_permission", "codename = 'add_token'"),
    ):
        cursor.execute(f"SELECT count(*) FROM {table} WHERE {condition}")
        assert cursor.fetchone() == (0,), table
    assert apps.get_model("auth", "User").objects.get().username == "ada"
    assert apps.get_model("admin", "LogEntry").objects.get().content_type is None


def test_a_database_that_never_had_them_migrates_too(cursor):
    migrate_to(END_OF_OLD)
    cursor.execute("SELECT to_regclass('accounts_apitoken'), to_regclass('knox_authtoken')")
    assert cursor.fetchone() == ("accounts_apitoken", None)
