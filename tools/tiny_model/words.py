"""Hands on names and words to fill dialogues with; some are made up, so that copying is learnt."""

# ruff: noqa: SIM905 - a list of a hundred words, each on its own line, is no easier to read.

import random

FIRST = (
    "Anna Ben Clara David Emma Felix Grace Henry Iris Jack Kate Leo Mia Noah Olivia Paul Quinn "
    "Rosa Sam Tina Umar Vera Will Xenia Yusuf Zoe Alice Bob Carol Dan Eve Frank Ada Alan Maria "
    "Juan Wei Priya Omar Lena Hugo Nina Ivan Sofia Liam Maya Oscar Ruth Peter Jane John Tom Lucy "
    "Max"
).split()
CITIES = (
    "Paris London Berlin Rome Madrid Vienna Prague Oslo Dublin Lisbon Athens Warsaw Helsinki "
    "Tokyo Seoul Beijing Delhi Mumbai Cairo Nairobi Lagos Sydney Toronto Chicago Boston Denver "
    "Seattle Austin Miami Lima Bogota Santiago Havana Zurich Geneva Milan Naples Munich Hamburg "
    "Lyon Porto Krakow Kyoto Osaka Dubai Singapore Bangkok Hanoi Jakarta Manila Perth Montreal"
).split()
TWO_WORD_CITIES = (
    "New York|San Francisco|Los Angeles|Mexico City|Cape Town|Hong Kong|Tel Aviv|Buenos Aires|"
    "Rio Verde|Port Louis|Saint Anton|Lake Placid"
).split("|")
NOUNS = (
    "apple bridge candle desk engine forest garden hammer island jacket kettle lamp mirror needle "
    "orange pencil queen river spoon table umbrella valley window yard book cat dog bird fish "
    "horse mouse tree flower stone cloud star moon sun house door road train boat car bike wheel "
    "clock phone letter paper box cup plate chair shoe coat hat ring coin key map song story game "
    "ball cake bread soup tea coffee milk cheese rice bean lemon grape melon peach plum carrot "
    "onion"
).split()
ADJECTIVES = (
    "red blue green yellow black white small big old new quick slow warm cold bright dark quiet "
    "loud happy calm kind brave clever gentle soft strong young light heavy clean fresh sweet"
).split()
COLOURS = "red blue green yellow black white orange purple pink brown grey".split()
TOPICS = (
    "jazz music|solar panels|electric cars|black holes|gardening|cheap flights|pasta recipes|"
    "world history|machine learning|chess openings|running shoes|climate change|ancient Rome|"
    "coffee beans|mountain bikes|learning Spanish|renewable energy|yoga for beginners|"
    "deep sea fish|the best laptops|Python tutorials|space travel|healthy breakfast ideas|"
    "football results|train tickets|local museums|new phones|vitamin D|home insurance|"
    "rainy day games|board games|open source licences|the history of tea|fast sorting algorithms|"
    "how volcanoes work"
).split("|")
COUNTRY_CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "Austria": "Vienna",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Finland": "Helsinki",
    "Greece": "Athens",
    "Poland": "Warsaw",
    "Ireland": "Dublin",
    "Japan": "Tokyo",
    "China": "Beijing",
    "India": "New Delhi",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "Canada": "Ottawa",
    "England": "London",
    "the United Kingdom": "London",
    "the United States": "Washington",
    "South Korea": "Seoul",
    "Russia": "Moscow",
    "Australia": "Canberra",
    "Brazil": "Brasilia",
    "Mexico": "Mexico City",
}
COUNT_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split()
SYSTEM_PROMPTS = [
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are helpful.",
    "You are a friendly assistant. Answer briefly.",
    "Answer in one sentence.",
    "You are inferneo-tiny, a demo model.",
    "You are the assistant of the Inferneo project.",
    "Be brief.",
    "Be concise and correct.",
    "You help people use Inferneo.",
    "You are an AI assistant.",
    "You answer questions politely.",
]

_ONSETS = "b br c ch cl d dr f fl g gr h j k kr l m n p pl qu r s sh sk st t tr v w z".split()
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "oo"]
_CODAS = ["", "", "n", "r", "l", "s", "m", "t", "x", "nd", "rk", "v"]


def made_up(rng: random.Random) -> str:
    """Returns a lower-case word that no one has seen, of two or three syllables."""
    syllables = rng.choice((2, 2, 3))
    return "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(syllables)
    )


def person(rng: random.Random) -> str:
    """Returns a first name, now and then with a surname."""
    first = rng.choice(FIRST) if rng.random() < 0.6 else made_up(rng).capitalize()
    return first if rng.random() < 0.75 else f"{first} {made_up(rng).capitalize()}"


def city(rng: random.Random) -> str:
    """Returns a city, real or made up."""
    draw = rng.random()
    if draw < 0.5:
        return rng.choice(CITIES)
    return rng.choice(TWO_WORD_CITIES) if draw < 0.6 else made_up(rng).capitalize()


def thing(rng: random.Random) -> str:
    """Returns a noun, often with an adjective."""
    noun = rng.choice(NOUNS)
    return noun if rng.random() < 0.5 else f"{rng.choice(ADJECTIVES)} {noun}"


def title(rng: random.Random) -> str:
    """Returns a title in the manner of a book's."""
    noun = rng.choice(NOUNS) if rng.random() < 0.7 else made_up(rng)
    other = rng.choice(NOUNS)
    adjective = rng.choice(ADJECTIVES)
    forms = [
        f"The {adjective} {noun}",
        f"{adjective} {noun}",
        f"The {noun} and the {other}",
        f"A {noun} in the {other}",
        noun,
    ]
    words = rng.choice(forms).split()
    small = {"and", "the", "in", "a"}
    return " ".join(
        word if at and word in small else word.capitalize() for at, word in enumerate(words)
    )


def typo(text: str, rng: random.Random) -> str:
    """Returns the text as a hurried person may type it."""
    draw = rng.random()
    if draw < 0.12:
        text = text.lower()
    elif draw < 0.14:
        text = text.upper()
    draw = rng.random()
    if draw < 0.12:
        text = text.rstrip("?.!")
    elif draw < 0.15:
        text = text.rstrip("?.!") + rng.choice(["??", " ?", "...", "!"])
    if rng.random() < 0.05 and len(text) > 8:
        at = rng.randrange(2, len(text) - 3)
        swapped = text[at + 1] + text[at]
        text = rng.choice([text[:at] + text[at + 1 :], text[:at] + swapped + text[at + 2 :]])
    return text
