"""Tokens and codes, of which only hashes are stored, and invitations of staff, whose end is final."""

import accounts.fields
import core.base.ids
import django.db.models.deletion
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models

IN_REGION = """
ALTER TABLE accounts_staffinvitation ADD CONSTRAINT accounts_staffinvitation_constituency_in_region
    FOREIGN KEY (region_id, constituency_id) REFERENCES accounts_constituency (region_id, id);
"""
FINAL = """
CREATE FUNCTION accounts_invitation_final() RETURNS trigger AS $$
BEGIN
    RAISE EXCEPTION 'an invitation that is % does not become %', OLD.status, NEW.status
        USING ERRCODE = 'check_violation', CONSTRAINT = 'accounts_invitation_final';
END $$ LANGUAGE plpgsql;
CREATE TRIGGER accounts_invitation_final BEFORE UPDATE ON accounts_staffinvitation
    FOR EACH ROW WHEN (OLD.status <> 'pending' AND OLD.status <> NEW.status)
    EXECUTE FUNCTION accounts_invitation_final();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0004_prefix_search'),
    ]

    operations = [
        migrations.CreateModel(
            name='AccountToken',
            fields=[
                ('id', models.UUIDField(default=core.base.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('purpose', models.CharField(choices=[('password_reset', 'Set a new password'), ('email_verification', 'Confirm an e-mail address'), ('set_password', 'Set the first password')], max_length=20)),
                ('token_hash', models.CharField(blank=True, default='', max_length=64)),
                ('sent_to', models.CharField(blank=True, default='', help_text="the link is not good once this is not the person's any more", max_length=254)),
                ('expires_at', models.DateTimeField()),
                ('sent_at', models.DateTimeField(blank=True, null=True)),
                ('used_at', models.DateTimeField(blank=True, null=True)),
                ('superseded_at', models.DateTimeField(blank=True, null=True)),
                ('requested_ip', models.GenericIPAddressField(blank=True, null=True)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='tokens', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(fields=['user', 'created_at'], name='accounts_token_of_user'), models.Index(condition=models.Q(('requested_ip__isnull', False)), fields=['requested_ip', 'created_at'], name='accounts_token_of_address')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('superseded_at__isnull', True), ('used_at__isnull', True)), fields=('user', 'purpose'), name='accounts_token_one_open'), models.UniqueConstraint(condition=models.Q(('token_hash', ''), _negated=True), fields=('token_hash',), name='accounts_token_hash_unique'), models.CheckConstraint(condition=models.Q(('token_hash', ''), ('token_hash__regex', '^[0-9a-f]{64}$'), _connector='OR'), name='accounts_token_hash_form'), models.CheckConstraint(condition=models.Q(('purpose__in', ['password_reset', 'email_verification', 'set_password'])), name='accounts_token_purpose'), models.CheckConstraint(condition=models.Q(('used_at__isnull', True), models.Q(('superseded_at__isnull', True), models.Q(('token_hash', ''), _negated=True)), _connector='OR'), name='accounts_token_used_once'), models.CheckConstraint(condition=models.Q(('token_hash', ''), models.Q(('sent_at__isnull', False), models.Q(('sent_to', ''), _negated=True)), _connector='OR'), name='accounts_token_sent_when_made')],
            },
        ),
        migrations.CreateModel(
            name='OneTimeCode',
            fields=[
                ('id', models.UUIDField(default=core.base.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('phone', accounts.fields.PhoneField(blank=True, default='', max_length=13)),
                ('purpose', models.CharField(choices=[('phone_verification', 'Confirm a phone number'), ('password_reset', 'Set a new password'), ('guest_order', 'Confirm an order without an account')], max_length=20)),
                ('subject_id', models.CharField(blank=True, default='', max_length=64)),
                ('code_hash', models.CharField(blank=True, default='', max_length=64)),
                ('expires_at', models.DateTimeField()),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('sent_at', models.DateTimeField(blank=True, null=True)),
                ('used_at', models.DateTimeField(blank=True, null=True)),
                ('superseded_at', models.DateTimeField(blank=True, null=True)),
                ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='codes', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('user__isnull', False)), fields=['user', 'created_at'], name='accounts_code_of_user'), models.Index(condition=models.Q(('phone', ''), _negated=True), fields=['phone', 'created_at'], name='accounts_code_of_phone')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('superseded_at__isnull', True), ('used_at__isnull', True), ('user__isnull', False)), fields=('user', 'purpose', 'subject_id'), name='accounts_code_one_open_of_user'), models.UniqueConstraint(condition=models.Q(('superseded_at__isnull', True), ('used_at__isnull', True), models.Q(('phone', ''), _negated=True)), fields=('phone', 'purpose', 'subject_id'), name='accounts_code_one_open_of_phone'), models.CheckConstraint(condition=models.Q(models.Q(('phone', ''), ('user__isnull', False)), models.Q(('phone__regex', '^\\+233[0-9]{9}$'), ('user__isnull', True)), _connector='OR'), name='accounts_code_user_or_phone'), models.CheckConstraint(condition=models.Q(('purpose__in', ['phone_verification', 'password_reset', 'guest_order'])), name='accounts_code_purpose'), models.CheckConstraint(condition=models.Q(('code_hash', ''), ('code_hash__regex', '^[0-9a-f]{64}$'), _connector='OR'), name='accounts_code_hash_form'), models.CheckConstraint(condition=models.Q(('attempts__lte', 5)), name='accounts_code_attempts'), models.CheckConstraint(condition=models.Q(('used_at__isnull', True), models.Q(('superseded_at__isnull', True), models.Q(('code_hash', ''), _negated=True)), _connector='OR'), name='accounts_code_used_once'), models.CheckConstraint(condition=models.Q(models.Q(('code_hash', ''), ('sent_at__isnull', True)), models.Q(models.Q(('code_hash', ''), _negated=True), ('sent_at__isnull', False)), _connector='OR'), name='accounts_code_sent_when_made')],
            },
        ),
        migrations.CreateModel(
            name='StaffInvitation',
            fields=[
                ('id', models.UUIDField(default=core.base.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('email', accounts.fields.LowerEmailField(max_length=254, verbose_name='e-mail')),
                ('role', models.CharField(choices=[('SUPER_ADMIN', 'Super admin'), ('NATIONAL_ADMIN', 'National admin'), ('NATIONAL_STAFF', 'National staff'), ('REGIONAL_ADMIN', 'Regional admin'), ('REGIONAL_STAFF', 'Regional staff'), ('CONSTITUENCY_ADMIN', 'Constituency admin'), ('CONSTITUENCY_STAFF', 'Constituency staff'), ('EXTENSION_OFFICER', 'Extension officer'), ('VETERINARY_OFFICER', 'Veterinary officer'), ('YEA_OFFICIAL', 'YEA official'), ('PROCUREMENT_OFFICER', 'Procurement officer'), ('FINANCE_OFFICER', 'Finance officer'), ('AUDITOR', 'Auditor'), ('INSTITUTIONAL_SUBSCRIBER', 'Institutional subscriber'), ('FARMER', 'Farmer')], max_length=30)),
                ('token_hash', models.CharField(blank=True, default='', max_length=64)),
                ('expires_at', models.DateTimeField()),
                ('sent_at', models.DateTimeField(blank=True, null=True)),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('accepted', 'Accepted'), ('cancelled', 'Cancelled'), ('expired', 'Expired')], default='pending', editable=False, max_length=9)),
                ('constituency', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.constituency')),
                ('invited_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='invitations', to=settings.AUTH_USER_MODEL)),
                ('region', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.region')),
                ('user', models.OneToOneField(blank=True, help_text='who accepted it', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='invitation', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at'],
                'indexes': [models.Index(condition=models.Q(('status', 'pending')), fields=['expires_at'], name='accounts_invitation_expires')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('status', 'pending')), fields=('email',), name='accounts_invitation_one_pending', violation_error_message='This address has an invitation already.'), models.UniqueConstraint(condition=models.Q(('token_hash', ''), _negated=True), fields=('token_hash',), name='accounts_invitation_hash_unique'), models.CheckConstraint(condition=models.Q(('token_hash', ''), ('token_hash__regex', '^[0-9a-f]{64}$'), _connector='OR'), name='accounts_invitation_hash_form'), models.CheckConstraint(condition=models.Q(('status__in', ['pending', 'accepted', 'cancelled', 'expired'])), name='accounts_invitation_status'), models.CheckConstraint(condition=models.Q(('email__contains', '@'), ('email', django.db.models.functions.text.Lower('email'))), name='accounts_invitation_email_lower', violation_error_message='E-mail: write it in lower case.'), models.CheckConstraint(condition=models.Q(('role__in', ['NATIONAL_ADMIN', 'NATIONAL_STAFF', 'REGIONAL_ADMIN', 'REGIONAL_STAFF', 'CONSTITUENCY_ADMIN', 'CONSTITUENCY_STAFF', 'EXTENSION_OFFICER', 'VETERINARY_OFFICER', 'YEA_OFFICIAL', 'PROCUREMENT_OFFICER', 'FINANCE_OFFICER', 'AUDITOR', 'INSTITUTIONAL_SUBSCRIBER', 'FARMER'])), name='accounts_invitation_role', violation_error_message='A super admin is made by the command createsuperuser only.'), models.CheckConstraint(condition=models.Q(models.Q(('role__in', ['REGIONAL_ADMIN', 'REGIONAL_STAFF', 'CONSTITUENCY_ADMIN', 'CONSTITUENCY_STAFF']), _negated=True), ('region__isnull', False), _connector='OR'), name='accounts_invitation_region_for_role', violation_error_message='Regional and constituency roles need a region.'), models.CheckConstraint(condition=models.Q(models.Q(('role__in', ['CONSTITUENCY_ADMIN', 'CONSTITUENCY_STAFF']), _negated=True), ('constituency__isnull', False), _connector='OR'), name='accounts_invitation_constituency_for_role', violation_error_message='Constituency roles need a constituency.'), models.CheckConstraint(condition=models.Q(('region__isnull', False), ('constituency__isnull', True), _connector='OR'), name='accounts_invitation_place_has_region', violation_error_message='Name the region of the constituency too.'), models.CheckConstraint(condition=models.Q(models.Q(('token_hash', ''), ('sent_at__isnull', True)), models.Q(models.Q(('token_hash', ''), _negated=True), ('sent_at__isnull', False)), _connector='OR'), name='accounts_invitation_sent_when_made'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'accepted'), ('user__isnull', False)), models.Q(models.Q(('status', 'accepted'), _negated=True), ('user__isnull', True)), _connector='OR'), name='accounts_invitation_accepted_by_somebody')],
            },
        ),
        migrations.RunSQL(
            IN_REGION,
            "ALTER TABLE accounts_staffinvitation DROP CONSTRAINT accounts_staffinvitation_constituency_in_region",
        ),
        migrations.RunSQL(
            FINAL,
            "DROP TRIGGER accounts_invitation_final ON accounts_staffinvitation;"
            "DROP FUNCTION accounts_invitation_final();",
        ),
    ]
