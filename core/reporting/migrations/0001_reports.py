"""Reports, whose states follow each other as core/reporting/rules.py says, whoever writes."""

import core.base.ids
import django.core.serializers.json
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('delivery', '0004_kept_by_the_database'),  # refuse_status_transition()
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Report',
            fields=[
                ('id', models.UUIDField(default=core.base.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('production', 'production'), ('farm_activity', 'farm_activity'), ('seller_payout', 'seller_payout'), ('weekly', 'weekly'), ('partner_statement', 'partner_statement'), ('brief', 'brief')], max_length=20)),
                ('scope', models.CharField(max_length=60)),
                ('period_from', models.DateField()),
                ('period_to', models.DateField()),
                ('status', models.CharField(choices=[('running', 'running'), ('ready', 'ready'), ('failed', 'failed')], default='running', max_length=8)),
                ('revision', models.PositiveIntegerField(default=0)),
                ('content', models.JSONField(blank=True, encoder=django.core.serializers.json.DjangoJSONEncoder, null=True)),
                ('content_hash', models.CharField(blank=True, default='', max_length=64)),
                ('expires_at', models.DateTimeField(blank=True, help_text='until when its content is kept', null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('requested_by', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('content__isnull', False)), fields=['expires_at'], name='report_with_content')],
                'constraints': [models.UniqueConstraint(fields=('kind', 'scope', 'period_from', 'period_to'), name='report_once'), models.CheckConstraint(condition=models.Q(('kind__in', ['production', 'farm_activity', 'seller_payout', 'weekly', 'partner_statement', 'brief'])), name='report_kind_known'), models.CheckConstraint(condition=models.Q(('status__in', ['running', 'ready', 'failed'])), name='report_status_known'), models.CheckConstraint(condition=models.Q(('period_from__lte', models.F('period_to'))), name='report_period_in_order'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'ready'), _negated=True), models.Q(('expires_at__isnull', False), ('revision__gte', 1), models.Q(('content_hash', ''), _negated=True)), _connector='OR'), name='report_ready_was_made')],
            },
        ),
        migrations.RunSQL(
            "CREATE TRIGGER report_transition BEFORE UPDATE OF status ON reporting_report FOR EACH ROW"
            " WHEN (OLD.status <> NEW.status AND NOT OLD.status || '>' || NEW.status = ANY ("
            "'{running>ready,running>failed,ready>running,failed>running,failed>ready}'::text[]))"
            " EXECUTE FUNCTION refuse_status_transition()",
            "DROP TRIGGER report_transition ON reporting_report",
        ),
    ]
