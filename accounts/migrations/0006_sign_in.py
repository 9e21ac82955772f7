"""Every attempt to sign in, devices that are trusted, and people who are there for demonstration."""

import core.base.ids
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0005_tokens_codes_invitations'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='is_demo',
            field=models.BooleanField(db_default=False, default=False, help_text='needs no second factor and signs in during development alone'),
        ),
        migrations.CreateModel(
            name='LoginRecord',
            fields=[
                ('id', models.UUIDField(default=core.base.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
                ('ip', models.GenericIPAddressField(blank=True, null=True)),
                ('user_agent', models.CharField(blank=True, default='', max_length=200)),
                ('device_hash', models.CharField(blank=True, default='', max_length=64)),
                ('place', models.CharField(blank=True, default='', help_text='empty: unknown', max_length=100)),
                ('success', models.BooleanField()),
                ('failure_reason', models.CharField(blank=True, choices=[('unknown', 'No such account'), ('inactive', 'Invited, no password yet'), ('demo', 'A demonstration account, outside of development'), ('suspended', 'Suspended'), ('locked', 'Locked after failed sign-ins'), ('password', 'Wrong password'), ('second_factor', 'Wrong second factor')], default='', max_length=20)),
                ('is_new_device', models.BooleanField(default=False)),
                ('is_new_place', models.BooleanField(default=False)),
                ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='login_records', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(fields=['user', 'at'], name='accounts_loginrecord_of_user'), models.Index(fields=['at'], name='accounts_loginrecord_at')],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('failure_reason', ''), ('success', True), ('user__isnull', False)), models.Q(('failure_reason__in', ['unknown', 'inactive', 'demo', 'suspended', 'locked', 'password', 'second_factor']), ('is_new_device', False), ('is_new_place', False), ('success', False)), _connector='OR'), name='accounts_loginrecord_reason')],
            },
        ),
        migrations.CreateModel(
            name='TrustedDevice',
            fields=[
                ('id', models.UUIDField(default=core.base.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('device_hash', models.CharField(max_length=64)),
                ('user_agent', models.CharField(blank=True, default='', max_length=200)),
                ('trust_expires_at', models.DateTimeField()),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='trusted_devices', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(fields=['trust_expires_at'], name='accounts_trusteddevice_ends')],
                'constraints': [models.UniqueConstraint(fields=('user', 'device_hash'), name='accounts_trusteddevice_once'), models.CheckConstraint(condition=models.Q(('device_hash', ''), _negated=True), name='accounts_trusteddevice_named')],
            },
        ),
    ]
