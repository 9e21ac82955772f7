"""What the demonstration knows of Ghana: where people live, how they are called, what they speak.

Population: Ghana Statistical Service, 2021 Population and Housing Census, General Report volume 3A; 30,832,019 in all.
Latitude and longitude are those of the capital, in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

from accounts.rules import Language


@dataclass(frozen=True)
class Names:
    """Given names and families of people who share a language, and the languages that they want to be written to in."""

    women: tuple[str, ...]
    men: tuple[str, ...]
    families: tuple[str, ...]
    languages: tuple[Language, ...]


AKAN = Names(
    women=("Akosua", "Adwoa", "Abena", "Akua", "Yaa", "Afia", "Ama", "Esi", "Efua", "Serwaa", "Adjoa", "Maame"),
    men=("Kwasi", "Kwadwo", "Kwabena", "Kwaku", "Yaw", "Kofi", "Kwame", "Kojo", "Ebo", "Kwesi", "Nana", "Fiifi"),
    families=(
        *("Mensah", "Owusu", "Boateng", "Asante", "Agyeman", "Sarpong", "Osei", "Darko", "Appiah", "Amponsah"),
        *("Frimpong", "Adomako", "Gyamfi", "Opoku", "Antwi", "Acheampong", "Bonsu", "Quaye", "Arthur", "Donkor"),
    ),
    languages=(Language.TWI, Language.TWI, Language.TWI, Language.ENGLISH),
)
GA = Names(
    women=("Naa", "Korkor", "Dede", "Akweley", "Ama", "Abena", "Lamiley", "Esther", "Mercy", "Akosua"),
    men=("Nii", "Tetteh", "Kwei", "Kofi", "Kwame", "Lante", "Ebenezer", "Daniel", "Okai", "Yaw"),
    families=(
        *("Lamptey", "Tetteh", "Quartey", "Ankrah", "Odoi", "Laryea", "Sowah", "Nortey", "Addo", "Okine"),
        *("Mensah", "Owusu", "Amegah", "Adjei", "Aryee", "Bortey"),
    ),
    languages=(Language.GA, Language.TWI, Language.ENGLISH, Language.ENGLISH),
)
EWE = Names(
    women=("Dzifa", "Edem", "Akpene", "Afi", "Kafui", "Esinam", "Sena", "Elikem", "Yayra", "Enyonam"),
    men=("Selorm", "Kodzo", "Mawuli", "Kwami", "Elorm", "Delali", "Senyo", "Yao", "Komla", "Etse"),
    families=(
        *("Agbeko", "Amegah", "Dzokoto", "Agbenyega", "Kpodo", "Ahiabor", "Tsikata", "Gbedemah", "Amenyo", "Fiagbe"),
        *("Nyarko", "Adzovi", "Kumah", "Dogbe"),
    ),
    languages=(Language.EWE, Language.EWE, Language.ENGLISH),
)
NORTHERN = Names(
    women=("Mariama", "Rahinatu", "Fati", "Amina", "Zulaiha", "Ayishetu", "Memunatu", "Salamatu", "Rukaya", "Hawa"),
    men=("Fuseini", "Alhassan", "Abdulai", "Mohammed", "Issah", "Sulemana", "Yakubu", "Haruna", "Baba", "Rashid"),
    families=(
        *("Alhassan", "Iddrisu", "Abubakari", "Mahama", "Yakubu", "Seidu", "Issifu", "Mumuni", "Sulemana", "Dawuni"),
        *("Abdul-Rahman", "Adam", "Salifu", "Braimah"),
    ),
    languages=(Language.DAGBANI, Language.DAGBANI, Language.ENGLISH),
)
UPPER = Names(
    women=("Atampugre", "Ayinbono", "Lamisi", "Talata", "Asibi", "Abena", "Vida", "Azara", "Mary", "Felicia"),
    men=("Atinga", "Awuni", "Ayamga", "Dery", "Akolgo", "Apuri", "Francis", "Joseph", "Bayor", "Kwame"),
    families=(
        *("Ayariga", "Abugri", "Azure", "Dery", "Kuubetersuur", "Bawa", "Anaba", "Apaak", "Nyaaba", "Tanko"),
        *("Zakaria", "Seidu", "Bagbin", "Yelpaala"),
    ),
    languages=(Language.ENGLISH,),
)


@dataclass(frozen=True)
class Home:
    """A region as people live in it."""

    population: int
    latitude: float
    longitude: float
    names: Names


REGIONS = {
    "AF": Home(564_668, 6.80, -2.52, AKAN),
    "AH": Home(5_440_463, 6.69, -1.62, AKAN),
    "BO": Home(1_208_649, 7.34, -2.33, AKAN),
    "BE": Home(1_203_400, 7.58, -1.94, AKAN),
    "CP": Home(2_859_821, 5.13, -1.28, AKAN),
    "EP": Home(2_925_653, 6.09, -0.26, AKAN),
    "AA": Home(5_455_692, 5.70, -0.10, GA),
    "NE": Home(658_946, 10.53, -0.37, NORTHERN),
    "NP": Home(2_310_939, 9.40, -0.84, NORTHERN),
    "OT": Home(747_248, 8.07, 0.18, EWE),
    "SV": Home(653_266, 9.08, -1.82, NORTHERN),
    "UE": Home(1_301_226, 10.79, -0.85, UPPER),
    "UW": Home(901_502, 10.06, -2.50, UPPER),
    "TV": Home(1_659_040, 6.61, 0.47, EWE),
    "WP": Home(2_060_585, 5.10, -1.78, AKAN),
    "WN": Home(880_921, 6.21, -2.48, AKAN),
}
HOT = 8.0  # north of this latitude the dry season is the hardest on birds

FARM_WORDS = (
    "Poultry",
    "Farms",
    "Layers",
    "Agro",
    "Family Farm",
    "Sunrise Farm",
    "Hope Farm",
    "Golden Eggs",
    "Ventures",
)
QUARTERS = (
    "Zongo",
    "New Town",
    "Old Town",
    "Estate",
    "Market",
    "Junction",
    "Station",
    "Nkwanta",
    "Kofikrom",
    "Low Cost",
)
LAYERS = ("Isa Brown", "Lohmann Brown", "Bovans Brown", "Hy-Line Brown")
BROILERS = ("Cobb 500", "Ross 308", "Arbor Acres")
