"""The sixteen regions (official) with sample districts and constituencies (domain.md 3.2).

Backwards removes only what nobody points to, so that it never fails on a person's home.
"""

from django.db import migrations

# code, name, capital, {district: {constituency code: constituency}}
REGIONS = [
    ("AF", "Ahafo", "Goaso", {
        "Asunafo North Municipal": {"ASN": "Asunafo North"},
        "Tano South Municipal": {"TNS": "Tano South"},
    }),
    ("AH", "Ashanti", "Kumasi", {
        "Kumasi Metropolitan": {"BNT": "Bantama", "MHS": "Manhyia South", "SUB": "Subin"},
        "Ejisu Municipal": {"EJS": "Ejisu"},
    }),
    ("BO", "Bono", "Sunyani", {
        "Sunyani Municipal": {"SNE": "Sunyani East"},
        "Wenchi Municipal": {"WNC": "Wenchi"},
    }),
    ("BE", "Bono East", "Techiman", {
        "Techiman Municipal": {"TCS": "Techiman South"},
        "Kintampo North Municipal": {"KTN": "Kintampo North"},
    }),
    ("CP", "Central", "Cape Coast", {
        "Cape Coast Metropolitan": {"CCN": "Cape Coast North", "CCS": "Cape Coast South"},
        "Effutu Municipal": {"EFF": "Effutu"},
    }),
    ("EP", "Eastern", "Koforidua", {
        "New Juaben South Municipal": {"NJS": "New Juaben South"},
        "Suhum Municipal": {"SUH": "Suhum"},
    }),
    ("AA", "Greater Accra", "Accra", {
        "Tema Metropolitan": {"TMC": "Tema Central", "TME": "Tema East"},
        "Tema West Municipal": {"TMW": "Tema West"},
        "Shai Osudoku": {"SHO": "Shai-Osudoku"},
    }),
    ("NE", "North East", "Nalerigu", {
        "East Mamprusi Municipal": {"NLG": "Nalerigu-Gambaga"},
        "West Mamprusi Municipal": {"WLW": "Walewale"},
    }),
    ("NP", "Northern", "Tamale", {
        "Tamale Metropolitan": {"TLC": "Tamale Central", "TLS": "Tamale South"},
        "Yendi Municipal": {"YND": "Yendi"},
    }),
    ("OT", "Oti", "Dambai", {
        "Krachi East Municipal": {"KRE": "Krachi East"},
        "Kadjebi": {"AKN": "Akan"},
    }),
    ("SV", "Savannah", "Damongo", {
        "West Gonja Municipal": {"DMG": "Damongo"},
        "East Gonja Municipal": {"SLS": "Salaga South"},
    }),
    ("UE", "Upper East", "Bolgatanga", {
        "Bolgatanga Municipal": {"BGC": "Bolgatanga Central"},
        "Kassena-Nankana Municipal": {"NVC": "Navrongo Central"},
    }),
    ("UW", "Upper West", "Wa", {
        "Wa Municipal": {"WAC": "Wa Central"},
        "Sissala East Municipal": {"SSE": "Sissala East"},
    }),
    ("TV", "Volta", "Ho", {
        "Ho Municipal": {"HOC": "Ho Central"},
        "Hohoe Municipal": {"HHE": "Hohoe"},
    }),
    ("WP", "Western", "Sekondi-Takoradi", {
        "Sekondi-Takoradi Metropolitan": {"SKD": "Sekondi", "TKD": "Takoradi"},
        "Tarkwa-Nsuaem Municipal": {"TRK": "Tarkwa-Nsuaem"},
    }),
    ("WN", "Western North", "Sefwi Wiawso", {
        "Sefwi Wiawso Municipal": {"SFW": "Sefwi-Wiawso"},
        "Aowin Municipal": {"AOW": "Aowin"},
    }),
]


def kind_of(district):
    word = district.rpartition(" ")[2].lower()
    return word if word in ("metropolitan", "municipal") else "district"


def load(apps, schema_editor):
    region_rows, district_rows, constituency_rows = (
        apps.get_model("accounts", name).objects.using(schema_editor.connection.alias)
        for name in ("Region", "District", "Constituency")
    )
    for code, name, capital, districts in REGIONS:
        region, _ = region_rows.get_or_create(code=code, defaults={"name": name, "capital": capital})
        for district_name, constituencies in districts.items():
            district, _ = district_rows.get_or_create(
                region=region,
                name=district_name,
                defaults={"kind": kind_of(district_name), "source": "demo_sample"},
            )
            for constituency_code, constituency_name in constituencies.items():
                constituency_rows.get_or_create(
                    code=constituency_code,
                    defaults={
                        "region": region,
                        "district": district,
                        "name": constituency_name,
                        "source": "demo_sample",
                    },
                )


UNLOAD = """
DELETE FROM accounts_constituency c WHERE c.source = 'demo_sample'
    AND NOT EXISTS (SELECT FROM accounts_user u WHERE u.constituency_id = c.id);
DELETE FROM accounts_district d WHERE d.source = 'demo_sample'
    AND NOT EXISTS (SELECT FROM accounts_user u WHERE u.district_id = d.id)
    AND NOT EXISTS (SELECT FROM accounts_constituency c WHERE c.district_id = d.id);
DELETE FROM accounts_region r
    WHERE NOT EXISTS (SELECT FROM accounts_user u WHERE u.region_id = r.id)
    AND NOT EXISTS (SELECT FROM accounts_district d WHERE d.region_id = r.id)
    AND NOT EXISTS (SELECT FROM accounts_constituency c WHERE c.region_id = r.id);
"""


def unload(apps, schema_editor):
    schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    schema_editor.execute(UNLOAD)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_schema")]
    operations = [migrations.RunPython(load, unload)]
