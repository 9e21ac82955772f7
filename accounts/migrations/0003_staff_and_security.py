"""Grants of staff, changes of roles, security events, and the order in which people are listed.

Changes and events stay as they were written. TRUNCATE is possible in databases named test_…, which pytest-django empties
between tests.
"""

import core.base.ids
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

APPEND_ONLY = """
CREATE FUNCTION accounts_append_only() RETURNS trigger AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' AND starts_with(current_database(), 'test_') THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$ LANGUAGE plpgsql;
"""
TABLES = ("accounts_rolechange", "accounts_securityevent")
GUARD = """
CREATE TRIGGER {table}_rows_stay BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION accounts_append_only();
CREATE TRIGGER {table}_table_stays BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_append_only();
"""
UNGUARD = """
DROP TRIGGER {table}_table_stays ON {table};
DROP TRIGGER {table}_rows_stay ON {table};
"""


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_geography'),
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.CreateModel(
            name='RoleChange',
            fields=[
                ('id', models.UUIDField(default=core.base.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('old_role', models.CharField(choices=[('SUPER_ADMIN', 'Super admin'), ('NATIONAL_ADMIN', 'National admin'), ('NATIONAL_STAFF', 'National staff'), ('REGIONAL_ADMIN', 'Regional admin'), ('REGIONAL_STAFF', 'Regional staff'), ('CONSTITUENCY_ADMIN', 'Constituency admin'), ('CONSTITUENCY_STAFF', 'Constituency staff'), ('EXTENSION_OFFICER', 'Extension officer'), ('VETERINARY_OFFICER', 'Veterinary officer'), ('YEA_OFFICIAL', 'YEA official'), ('PROCUREMENT_OFFICER', 'Procurement officer'), ('FINANCE_OFFICER', 'Finance officer'), ('AUDITOR', 'Auditor'), ('INSTITUTIONAL_SUBSCRIBER', 'Institutional subscriber'), ('FARMER', 'Farmer')], max_length=30)),
                ('new_role', models.CharField(choices=[('SUPER_ADMIN', 'Super admin'), ('NATIONAL_ADMIN', 'National admin'), ('NATIONAL_STAFF', 'National staff'), ('REGIONAL_ADMIN', 'Regional admin'), ('REGIONAL_STAFF', 'Regional staff'), ('CONSTITUENCY_ADMIN', 'Constituency admin'), ('CONSTITUENCY_STAFF', 'Constituency staff'), ('EXTENSION_OFFICER', 'Extension officer'), ('VETERINARY_OFFICER', 'Veterinary officer'), ('YEA_OFFICIAL', 'YEA official'), ('PROCUREMENT_OFFICER', 'Procurement officer'), ('FINANCE_OFFICER', 'Finance officer'), ('AUDITOR', 'Auditor'), ('INSTITUTIONAL_SUBSCRIBER', 'Institutional subscriber'), ('FARMER', 'Farmer')], max_length=30)),
                ('reason', models.CharField(max_length=500)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name='SecurityEvent',
            fields=[
                ('id', models.UUIDField(default=core.base.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('mfa_enabled', 'Two-step sign-in switched on'), ('mfa_disabled', 'Two-step sign-in switched off'), ('mfa_reset', 'Two-step sign-in reset'), ('backup_code_used', 'Recovery code used'), ('password_changed', 'Password changed'), ('suspended', 'Suspended'), ('unsuspended', 'Suspension lifted'), ('forced_sign_out', 'Signed out by an administrator')], max_length=20)),
                ('ip', models.GenericIPAddressField(blank=True, null=True)),
                ('device', models.CharField(blank=True, default='', max_length=200)),
                ('at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='StaffPermission',
            fields=[
                ('id', models.UUIDField(default=core.base.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('code', models.CharField(choices=[('approve_applications', 'Decide on applications'), ('manage_batches', 'Create and change batches'), ('manage_enrollment', 'Mark enrolments as enrolled'), ('run_reports', 'Run reports'), ('send_bulk_sms', 'Send bulk SMS'), ('view_system_health', 'See the health of the system'), ('refresh_cache', 'Refresh dashboards'), ('manage_leads', 'Work on leads and offers')], max_length=30)),
            ],
        ),
        migrations.AddIndex(
            model_name='user',
            index=models.Index(fields=['role', 'username'], name='accounts_user_by_role'),
        ),
        migrations.AddIndex(
            model_name='user',
            index=models.Index(fields=['region', 'username'], name='accounts_user_by_region'),
        ),
        migrations.AddIndex(
            model_name='user',
            index=models.Index(fields=['constituency', 'username'], name='accounts_user_by_constituency'),
        ),
        migrations.AddField(
            model_name='rolechange',
            name='changed_by',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='rolechange',
            name='new_constituency',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.constituency'),
        ),
        migrations.AddField(
            model_name='rolechange',
            name='new_region',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.region'),
        ),
        migrations.AddField(
            model_name='rolechange',
            name='old_constituency',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.constituency'),
        ),
        migrations.AddField(
            model_name='rolechange',
            name='old_region',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.region'),
        ),
        migrations.AddField(
            model_name='rolechange',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='role_changes', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='securityevent',
            name='actor',
            field=models.ForeignKey(blank=True, help_text='empty: the system', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='securityevent',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='security_events', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='staffpermission',
            name='granted_by',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='staffpermission',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='staff_permissions', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddConstraint(
            model_name='rolechange',
            constraint=models.CheckConstraint(condition=models.Q(('new_role__in', ['SUPER_ADMIN', 'NATIONAL_ADMIN', 'NATIONAL_STAFF', 'REGIONAL_ADMIN', 'REGIONAL_STAFF', 'CONSTITUENCY_ADMIN', 'CONSTITUENCY_STAFF', 'EXTENSION_OFFICER', 'VETERINARY_OFFICER', 'YEA_OFFICIAL', 'PROCUREMENT_OFFICER', 'FINANCE_OFFICER', 'AUDITOR', 'INSTITUTIONAL_SUBSCRIBER', 'FARMER']), ('old_role__in', ['SUPER_ADMIN', 'NATIONAL_ADMIN', 'NATIONAL_STAFF', 'REGIONAL_ADMIN', 'REGIONAL_STAFF', 'CONSTITUENCY_ADMIN', 'CONSTITUENCY_STAFF', 'EXTENSION_OFFICER', 'VETERINARY_OFFICER', 'YEA_OFFICIAL', 'PROCUREMENT_OFFICER', 'FINANCE_OFFICER', 'AUDITOR', 'INSTITUTIONAL_SUBSCRIBER', 'FARMER'])), name='accounts_rolechange_roles'),
        ),
        migrations.AddConstraint(
            model_name='rolechange',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('old_role', models.F('new_role')), _negated=True), models.Q(models.Q(('new_region__isnull', True), ('old_region__isnull', True)), models.Q(('new_region__isnull', False), ('old_region__isnull', False)), _connector='OR', _negated=True), models.Q(('new_region__isnull', False), ('old_region__isnull', False), models.Q(('old_region', models.F('new_region')), _negated=True)), models.Q(models.Q(('new_constituency__isnull', True), ('old_constituency__isnull', True)), models.Q(('new_constituency__isnull', False), ('old_constituency__isnull', False)), _connector='OR', _negated=True), models.Q(('new_constituency__isnull', False), ('old_constituency__isnull', False), models.Q(('old_constituency', models.F('new_constituency')), _negated=True)), _connector='OR'), name='accounts_rolechange_changes_something'),
        ),
        migrations.AddConstraint(
            model_name='rolechange',
            constraint=models.CheckConstraint(condition=models.Q(('user', models.F('changed_by')), _negated=True), name='accounts_rolechange_by_another', violation_error_message='Nobody changes their own role.'),
        ),
        migrations.AddIndex(
            model_name='securityevent',
            index=models.Index(fields=['user', 'at'], name='accounts_securityevent_of_user'),
        ),
        migrations.AddConstraint(
            model_name='securityevent',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['mfa_enabled', 'mfa_disabled', 'mfa_reset', 'backup_code_used', 'password_changed', 'suspended', 'unsuspended', 'forced_sign_out'])), name='accounts_securityevent_kind'),
        ),
        migrations.AddConstraint(
            model_name='staffpermission',
            constraint=models.UniqueConstraint(fields=('user', 'code'), name='accounts_staffpermission_once'),
        ),
        migrations.AddConstraint(
            model_name='staffpermission',
            constraint=models.CheckConstraint(condition=models.Q(('code__in', ['approve_applications', 'manage_batches', 'manage_enrollment', 'run_reports', 'send_bulk_sms', 'view_system_health', 'refresh_cache', 'manage_leads'])), name='accounts_staffpermission_code'),
        ),
        migrations.AddConstraint(
            model_name='staffpermission',
            constraint=models.CheckConstraint(condition=models.Q(('user', models.F('granted_by')), _negated=True), name='accounts_staffpermission_by_another', violation_error_message='Nobody grants a permission to themselves.'),
        ),
        migrations.RunSQL(APPEND_ONLY, "DROP FUNCTION accounts_append_only();"),
        *(migrations.RunSQL(GUARD.format(table=table), UNGUARD.format(table=table)) for table in TABLES),
    ]
