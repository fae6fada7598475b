"""The forms of accounts."""

from datetime import datetime, timedelta
from typing import Any

from allauth.account import forms as allauth_forms
from allauth.account.adapter import get_adapter
from django import forms
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest

from accounts.models import MAX_NAME_LENGTH, ApiToken, scopes_of
from kalshi_insights.bad_input import BadInput
from kalshi_insights.rest.permissions import Scope

DURATIONS = {"30": "30 days", "90": "90 days", "365": "a year", "": "never ends"}


class ApiTokenForm(forms.Form):
    """A new token, with the scopes that its user can make use of."""

    name = forms.CharField(
        max_length=MAX_NAME_LENGTH,
        help_text="What uses it, such as a script or a machine.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    scope = forms.ChoiceField(help_text="Grant what is needed and no more.")
    expires = forms.ChoiceField(
        label="Valid for", choices=DURATIONS.items(), initial="90", required=False
    )

    def __init__(self, data: Any = None, *, user: User) -> None:
        super().__init__(data)
        self._user = user
        scopes = scopes_of(user)
        self.fields["scope"].choices = [  # type: ignore[attr-defined]
            (scope.value, scope.label) for scope in scopes
        ]

    def issue(self, *, now: datetime) -> tuple[ApiToken, str] | None:
        """Make the token; None where it was refused and the form has the error."""
        days = self.cleaned_data["expires"]
        try:
            return ApiToken.objects.issue(
                self._user,
                name=self.cleaned_data["name"],
                scope=Scope(self.cleaned_data["scope"]),
                expiry=now + timedelta(days=int(days)) if days else None,
            )
        except BadInput as fault:
            self.add_error(fault.field if fault.field in self.fields else None, fault.message)
            return None


class PlainForm(forms.Form):
    """Labels in sentence case, and no placeholders that repeat them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.label = str(field.label).capitalize()
            field.widget.attrs.pop("placeholder", None)


class SignInForm(PlainForm, allauth_forms.LoginForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].widget.attrs |= {"autofocus": True, "autocapitalize": "none"}
        # The page says what to do about a forgotten password.
        self.fields["password"].help_text = ""

    @property
    def sends_mail(self) -> bool:
        return bool(settings.EMAIL_URL)


class ChangePasswordForm(PlainForm, allauth_forms.ChangePasswordForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["oldpassword"].help_text = ""


class NewPasswordForm(PlainForm, allauth_forms.ResetPasswordKeyForm):
    pass


class ResetPasswordForm(PlainForm, allauth_forms.ResetPasswordForm):
    """Finds the account of an address that was stored with capitals, too."""

    def clean_email(self) -> str:
        email: str = super().clean_email()
        users = User.objects.filter(email__iexact=email, is_active=True)
        self.users = [user for user in users if user.email.lower() == email]
        return email

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Send the mail; an address without an account gets one too, as long in the making.

        allauth's would invite it to sign up.
        """
        email: str = self.cleaned_data["email"]
        if self.users:
            super().save(request, **kwargs)
        else:
            get_adapter(request).send_mail("account/email/unknown_account", email, {})
        return email
