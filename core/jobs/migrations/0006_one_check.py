"""What a row must be is one check: PostgreSQL reads the text of each anew for every statement that writes a row."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0005_first_bell_and_expiry'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='taskrun',
            name='taskrun_state_known',
        ),
        migrations.RemoveConstraint(
            model_name='taskrun',
            name='taskrun_lease_while_running',
        ),
        migrations.RemoveConstraint(
            model_name='taskrun',
            name='taskrun_finished_when_final',
        ),
        migrations.RemoveConstraint(
            model_name='taskrun',
            name='taskrun_rings_while_waiting',
        ),
        migrations.AlterField(
            model_name='taskrun',
            name='attempts',
            field=models.SmallIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name='taskrun',
            name='fence',
            field=models.IntegerField(default=0),
        ),
        migrations.AlterField(
            model_name='taskrun',
            name='max_attempts',
            field=models.SmallIntegerField(blank=True, default=4, help_text='null: without limit', null=True),
        ),
        migrations.AddConstraint(
            model_name='taskrun',
            constraint=models.CheckConstraint(condition=models.Q(('attempts__gte', 0), ('fence__gte', 0), ('max_attempts__gte', 0), models.Q(models.Q(('finished_at__isnull', True), ('lease_until__isnull', True), ('ring_at__isnull', False), ('state__in', ['pending', 'retrying'])), models.Q(('finished_at__isnull', True), ('lease_until__isnull', False), ('ring_at__isnull', True), ('state', 'running')), models.Q(('finished_at__isnull', False), ('lease_until__isnull', True), ('ring_at__isnull', True), ('state__in', ['cancelled', 'failed', 'skipped', 'succeeded'])), _connector='OR')), name='taskrun_whole'),
        ),
    ]
