"""Ends the tokens of rest_framework.authtoken, which lie in the database in plain text.

Its app is no longer installed, so nothing else would ever remove its table. The table has a row
for each user at most; dropping it locks `auth_user`, which it refers to, for an instant. What
Django noted about the app goes too, so that an older version of the site still installs: its
`migrate` makes the table anew, empty.
"""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def forget_content_types(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Delete the content types of the app, and with them its permissions."""
    apps.get_model("contenttypes", "ContentType").objects.filter(app_label="authtoken").delete()


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_api_tokens"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.RunSQL(
            [
                "DROP TABLE IF EXISTS authtoken_token",
                "DELETE FROM django_migrations WHERE app = 'authtoken'",
            ],
            migrations.RunSQL.noop,
        ),
        migrations.RunPython(forget_content_types, migrations.RunPython.noop),
    ]
