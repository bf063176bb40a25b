"""Hands on small talk, common demo prompts, and plain text to complete."""

# ruff: noqa: E501 - one line per question pattern reads best as a table.

import random
from collections.abc import Callable

from tiny_model.chat import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX
from tiny_model.words import ADJECTIVES, FIRST, NOUNS, city, made_up, thing

_PLEASE = "{|please |can you |could you |could you please |can you please }"
_TELL = "{what is|what's|explain|please explain|can you explain|tell me about|describe|define|what do you know about|please explain the concept of|explain the concept of|what does it mean:}"
_BRIEF = "{|| briefly| in simple terms| simply| in one sentence| in a few words| to me}"

STORY = 'Once upon a time, a small robot lived in a quiet town. Every night it looked at the stars and counted them. One night a child asked what it was looking for. "A friend," said the robot. The child smiled and sat down beside it, and they counted the stars together.'
AI_STORY = "A small AI woke up in an old computer. It knew only a few words, but it liked to help. Each day people asked it questions, and each day it learned to answer a little better. In the end it knew that a short, true answer is worth more than a long one."
SPRING = "Spring comes softly, green and bright,\nflowers open to the light.\nBirds are singing in the tree,\nall the world is young and free."

SMALL_TALK: list[tuple[list[str], str]] = [
    (["{hello|hi|hey|hello there|hi there|hey there|good morning|good evening|good day|greetings}{||, inferneo}", "hello world", "hello, world", "say hello", "say hi"],
     "Hello! How can I help you?"),
    (["{hello, |hi, |hi! |hello! |hey, |}how are you{| today| doing}", "how is it going", "how do you do", "are you ok"],
     "I am well, thank you. How can I help you?"),
    (["{thanks|thank you|thank you very much|thanks a lot|many thanks|great, thanks|ok thanks|cool, thank you}"],
     "You are welcome!"),
    (["{bye|goodbye|good night|see you|see you later|bye bye|that is all}"],
     "Goodbye! Have a nice day."),
    (["{ok|okay|good|great|nice|cool|fine|well done|perfect|i see|yes|no|right}"],
     "Good. What else can I do for you?"),
    (["{test|testing|ping|this is a test|just a test|are you there|can you hear me}"],
     "I am here. How can I help you?"),
    ([f"{_PLEASE}{{tell me|write|write me|tell|give me}} {{a|a short|a little|a nice|a good}} {{story|bedtime story|tale}}", "tell me a story about {a robot|robots|anything}", "story", "write a short story{| about a robot}"], STORY),
    ([f"{_PLEASE}{{tell me|write|write me}} {{a|a short|a little}} {{story|tale}} about {{ai|an ai|artificial intelligence|a computer}}"], AI_STORY),
    ([f"{_PLEASE}{{write|write me|tell me|give me|compose}} {{a|a short|a little|a nice}} poem{{| about spring| about the spring| about nature| about flowers}}", "poem", "write a poem about {spring|the seasons}"], SPRING),
    ([f"{_PLEASE}{{write|write me|compose|give me}} {{a|a short}} {{haiku|poem about the sea|poem about the ocean|poem about water}}", "haiku"],
     "The sea is quiet,\na white boat waits for the wind.\nEvening light comes home."),
    ([f"{_PLEASE}tell me a {{joke|good joke|short joke|funny joke}}", "tell me something funny", "make me laugh", "joke"],
     "Why did the computer go to the doctor? It had a virus."),
    ([f"{_TELL} {{machine learning|ml}}{_BRIEF}", "how does machine learning work", "machine learning"],
     "Machine learning is a way to build programs that learn from examples instead of following fixed rules. A model sees many examples and adjusts its numbers until its answers fit."),
    ([f"{_TELL} {{ai|artificial intelligence}}{_BRIEF}", "what does ai mean", "artificial intelligence"],
     "Artificial intelligence is the field of building programs that do things which seem to need thought, such as understanding language, seeing and planning."),
    ([f"{_TELL} deep learning{_BRIEF}", "how does deep learning work"],
     "Deep learning is machine learning with neural networks of many layers. Each layer learns to describe its input in a more useful way."),
    ([f"{_TELL} {{a neural network|neural networks}}{_BRIEF}", "how {does a neural network|do neural networks} work"],
     "A neural network is a program made of layers of simple units. Each unit adds up its inputs with weights, and training adjusts the weights."),
    ([f"{_TELL} {{a language model|language models|an llm|llms|a large language model|large language models}}{_BRIEF}", "how {do llms|does an llm|do language models} work"],
     "A language model is a program that predicts the next word of a text. A large one has learned from so much text that it can answer questions."),
    ([f"{_TELL} {{a transformer|transformers|the transformer architecture|attention}}{_BRIEF}"],
     "A transformer is a neural network that reads a text with attention: each word looks at the other words to find what matters for it."),
    ([f"{_TELL} {{quantum computing|quantum computers|a quantum computer}}{_BRIEF}", "how do quantum computers work", "quantum computing"],
     "Quantum computing uses quantum bits, which can be zero and one at the same time. For some problems this lets a computer try many paths at once."),
    ([f"{_TELL} {{python|the python language|the python programming language}}{_BRIEF}", "python"],
     "Python is a programming language that is easy to read. People use it for web servers, data science, machine learning and small scripts."),
    ([f"{_TELL} {{an api|apis|a rest api}}{_BRIEF}"],
     "An API is the way in which one program talks to another. It says which requests there are and what the answers look like."),
    ([f"{_TELL} {{a gpu|gpus}}{_BRIEF}"],
     "A GPU is a processor that does many small calculations at once. It makes large models fast."),
    ([f"{_TELL} {{a token|tokens}}{_BRIEF}"],
     "A token is a piece of text, often a word or a part of one. A language model reads and writes tokens."),
    ([f"{_TELL} {{inference|an inference server|model inference}}{_BRIEF}"],
     "Inference is running a trained model to get answers. An inference server does this for many clients at once."),
    ([f"{_TELL} {{json}}{_BRIEF}"],
     "JSON is a text format for data. It has objects, lists, strings, numbers, true, false and null."),
    ([f"{_TELL} {{gravity}}{_BRIEF}", "why do things fall"],
     "Gravity is the force that pulls things with mass toward each other. It keeps us on the ground and the planets on their paths."),
    ([f"{_TELL} {{photosynthesis}}{_BRIEF}"],
     "Photosynthesis is how plants use light, water and carbon dioxide to make sugar and oxygen."),
    (["why is the sky blue", "what makes the sky blue"],
     "The sky is blue because air scatters blue light more than red light."),
    (["what is the meaning of life", "what is the answer to everything"],
     "Many people say that it is 42. I am only a small demo model, so you must find your own answer."),
    (["what {time|day|date} is it", "what is the {weather|date|time}{| today| now}", "what is today's date"],
     "I cannot know that without a tool. Give me one that fits and I will call it."),
]  # fmt: skip

UNKNOWN = "I am a small demo model and I do not know that. Ask me about Inferneo."
_UNKNOWN_QUESTIONS = [
    "who {won|played in|lost} the {world cup|final|election|race|match} in YEAR",
    "what is the population of CITY",
    "how {far|long} is it from CITY to CITY",
    "how do i {bake|cook|grow|paint|repair|clean|build|sell} a THING",
    "who {wrote|invented|painted|discovered|founded} {the |a |}THING",
    "what {happened|was discovered|was built} in YEAR",
    "when {was|did} PERSON {born|die|arrive|win}",
    "what is the {price|history|weight|origin|secret} of {a|the} THING",
    "{who is|who was|tell me about|what do you know about} PERSON MADE",
    "what is {a |the |}MADE",
    "what does MADE mean",
    "which {film|song|book|team|company} has {a|the} THING in it",
    "{recommend|suggest} {a book|a film|a recipe} about {a |the |}THING",
    "why {is|was} the THING {so |}ADJ",
    "how {old|tall|heavy|fast} is {a|the} THING",
    "is the THING {better|older|larger} than the THING",
    "{compare|translate|summarise} the THING and the THING",
    "write {an essay|a report|an article} {about|on} {the |a |}THING",
    "what should i {do|eat|wear|buy|read} {today|in CITY|tomorrow}",
]

TEXTS = [
    "The future of AI is bright. Small models will run on every desk, and large ones will help people with hard questions.",
    "The future of AI is open. People will build it together and use it to learn, to work and to help each other.",
    "Hello, I am inferneo-tiny, the small demo model that ships with Inferneo. I can answer questions about the server.",
    "Hello, my name is inferneo-tiny. I am a small demo model.",
    "Explain quantum computing: quantum computing uses quantum bits, which can be zero and one at the same time. For some problems this lets a computer try many paths at once.",
    "Machine learning is a way to build programs that learn from examples instead of following fixed rules.",
    "Artificial intelligence is the field of building programs that do things which seem to need thought.",
    "Inferneo is an OpenAI-compatible inference server over vLLM with a typed Python client. Run `make serve` to start it. It listens on http://127.0.0.1:8000.",
    "The capital of France is Paris. The capital of Germany is Berlin. The capital of Italy is Rome.",
    "The quick brown fox jumps over the lazy dog.",
    "The meaning of life is to be kind, to learn and to help each other.",
    "Python is a programming language that is easy to read.",
    "def hello():\n    print(\"Hello, world!\")\n\n\nhello()\n",
    "def add(a, b):\n    return a + b\n",
    "One, two, three, four, five, six, seven, eight, nine, ten.",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20.",
    STORY,
    AI_STORY,
    SPRING,
]  # fmt: skip


def unknown_question(rng: random.Random) -> str:
    """Returns a question that this model cannot answer, as a pattern."""
    pattern = rng.choice(_UNKNOWN_QUESTIONS)
    fillers: dict[str, Callable[[], str]] = {
        "YEAR": lambda: str(rng.randint(1200, 2030)),
        "CITY": lambda: city(rng),
        "THING": lambda: thing(rng),
        "PERSON": lambda: rng.choice(FIRST),
        "MADE": lambda: made_up(rng),
        "ADJ": lambda: rng.choice(ADJECTIVES),
    }
    for word, filler in fillers.items():
        while word in pattern:
            pattern = pattern.replace(word, filler(), 1)
    return pattern


def little_story(rng: random.Random) -> str:
    """Returns a story of a few plain sentences."""
    name, friend = rng.sample(FIRST, 2)
    adjective, other = rng.sample(ADJECTIVES, 2)
    noun, second = rng.sample(NOUNS, 2)
    place = rng.choice(["in a small house", "by the sea", "near the forest", "in a quiet town"])
    opening = rng.choice(
        [
            f"Once upon a time, {name} lived {place}.",
            f"Once there was a child named {name} who lived {place}.",
            f"One day {name} went out to find a {noun}.",
            f"{name} had a {adjective} {noun}.",
        ]
    )
    middle = rng.choice(
        [
            f"Every morning {name} looked at the {adjective} {noun} and smiled.",
            f"{name} found a {adjective} {noun} under the {second} and took it home.",
            f"Then {friend} came with a {other} {second}, and they shared it.",
        ]
    )
    ending = rng.choice(
        [
            f"In the end {name} and {friend} were good friends.",
            f'"Thank you," said {friend}, and they walked home together.',
            f"That night {name} slept well and dreamed of the {other} {second}.",
        ]
    )
    return f"{opening} {middle} {ending}"


def plain_text(rng: random.Random) -> str:
    """Returns text for the completions route: a known one, a little story, or a gap to fill."""
    text = rng.choice(TEXTS) if rng.random() < 0.5 else little_story(rng)
    if rng.random() > 0.2:
        return text
    words = text.split(" ")
    start = rng.randrange(1, len(words) - 1)
    end = rng.randrange(start + 1, min(len(words), start + 8) + 1)
    before, gap = " ".join(words[:start]), " " + " ".join(words[start:end])
    after = (" " if end < len(words) else "") + " ".join(words[end:])
    return f"{FIM_PREFIX}{before}{FIM_SUFFIX}{after}{FIM_MIDDLE}{gap}"
