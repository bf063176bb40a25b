"""Hands on conversations in which tools are offered: called where one fits, left alone elsewhere."""

# ruff: noqa: E501 - one line per kind of tool reads best as a table.

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tiny_model.words import TOPICS, city, made_up, person, thing, title

Values = dict[str, Any]
_PLEASE = "{|please |can you |could you |i need you to |}"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of tool: how it may be named, described, asked for, and what it answers."""

    names: str
    description: str
    questions: list[str]
    parameters: dict[str, tuple[str, str]]
    values: Callable[[random.Random], Values]
    response: Callable[[random.Random, Values], Values]
    answer: str


def _number(rng: random.Random) -> int:
    return rng.choice([rng.randint(1, 20), rng.randint(1, 100), rng.randint(1, 2000)])


def _clock(rng: random.Random) -> str:
    return f"{rng.randint(0, 23):02}:{rng.choice((0, 15, 30, 45)):02}"


def _expression(rng: random.Random) -> Values:
    operator = rng.choice(["+", "-", "*", "/", "plus", "minus", "times", "divided by"])
    symbol = {"plus": "+", "minus": "-", "times": "*", "divided by": "/"}.get(operator, operator)
    first, second = _number(rng), _number(rng)
    spoken = f"{first} {operator} {second}"
    if operator == symbol and rng.random() < 0.3:
        spoken = f"{first}{operator}{second}"
        return {"spoken": spoken, "expression": spoken}
    return {"spoken": spoken, "expression": f"{first} {symbol} {second}"}


def _result(_: random.Random, values: Values) -> Values:
    expression = values["expression"]
    symbol = next(sign for sign in "+*/-" if sign in expression)
    first, second = (int(part) for part in expression.split(symbol))
    results = {"+": first + second, "-": first - second, "*": first * second}
    return {"result": results.get(symbol, round(first / second, 2))}


_CURRENCIES = ["EUR", "USD", "GBP", "JPY", "CHF", "SEK", "CAD", "AUD"]
_LANGUAGES = [
    "German",
    "French",
    "Spanish",
    "Italian",
    "Dutch",
    "Polish",
    "Greek",
    "Japanese",
    "Korean",
    "Turkish",
]
_WEATHER = ["sunny", "cloudy", "rainy", "windy", "snowy", "clear", "foggy"]

KINDS = [
    Kind(
        names="get_weather|weather|getWeather|get_current_weather|weather_lookup|fetch_forecast|forecast|current_weather|lookup_weather|weather_report",
        description="{Get|Returns|Look up|Fetch} the {|current }weather {in|of|for} a {city|place|location}{|.}",
        questions=["{what is|what's|how is|how's} the weather {|like }{in|at} CITY{| today| now| right now|}", "is it {raining|sunny|cold|warm|hot} in CITY{| today| now|}", "{tell me|get|check|show me|give me} the weather {in|for} CITY", "weather in CITY", "what is the {temperature|forecast} in CITY", "do i need {an umbrella|a coat} in CITY{| today|}", "will it {rain|snow} in CITY{| today| tomorrow|}", "i am going to CITY, what is the weather there"],
        parameters={"CITY": ("city|location|place|town|where|city_name", "string")},
        values=lambda rng: {"CITY": city(rng)},
        response=lambda rng, _: {"temperature": rng.randint(-10, 38), "condition": rng.choice(_WEATHER)},
        answer="The weather in CITY is {condition} with {temperature} degrees.",
    ),
    Kind(
        names="calculator|calculate|calc|evaluate|compute|math|eval_expression|do_math|calculateExpression",
        description="{Calculates|Evaluates|Computes|Evaluate|Work out} {an arithmetic|a math|a mathematical} expression{|.}",
        questions=["what is spoken", "{calculate|compute|work out|evaluate} spoken", "how much is spoken", "spoken", "{what is the result of|please calculate|tell me} spoken", "use the calculator{| to compute|:} spoken"],
        parameters={"expression": ("expression|expr|formula|input|calculation", "string")},
        values=_expression,
        response=_result,
        answer="The result is {result}.",
    ),
    Kind(
        names="search|web_search|search_web|google|find|lookup|searchWeb|search_documents|query_index|internet_search",
        description="{Search|Searches} the {web|internet|documents}{| for a query}{|.}",
        questions=["{search|search the web|search for|search the web for|look up|find|google|search the internet for} TOPIC", "{find|look up|search for|get} {information|something|news|pages|articles} {about|on} TOPIC", "what can you find about TOPIC", "can you {search for|look up} TOPIC"],
        parameters={"TOPIC": ("query|q|search_query|text|keywords|term", "string")},
        values=lambda rng: {"TOPIC": rng.choice([rng.choice(TOPICS), thing(rng) + "s", title(rng), made_up(rng), f"{thing(rng)} {made_up(rng)}"])},
        response=lambda rng, _: {"title": title(rng)},
        answer='I found "{title}".',
    ),
    Kind(
        names="get_time|time|current_time|getTime|clock|time_in|get_local_time|local_time",
        description="{Get|Returns|Tells} the {|current |local }time in a {city|place|time zone}{|.}",
        questions=["what time is it in CITY{| now| right now|}", "{what is|tell me} the {|current |local }time in CITY", "time in CITY", "how late is it in CITY"],
        parameters={"CITY": ("city|location|place|timezone|zone", "string")},
        values=lambda rng: {"CITY": city(rng)},
        response=lambda rng, _: {"time": _clock(rng)},
        answer="It is {time} in CITY.",
    ),
    Kind(
        names="convert_currency|currency|exchange|convertCurrency|currency_converter|exchange_money",
        description="{Convert|Converts|Exchange} money {from one currency to another|between currencies}{|.}",
        questions=["{convert|change|exchange} AMOUNT FROM {to|into|in} TO", "how much is AMOUNT FROM in TO", "what is AMOUNT FROM in TO", "AMOUNT FROM in TO"],
        parameters={"AMOUNT": ("amount|value|sum", "number"), "FROM": ("from|source|from_currency|base", "string"), "TO": ("to|target|to_currency|quote", "string")},
        values=lambda rng: dict(zip(("AMOUNT", "FROM", "TO"), [_number(rng), *rng.sample(_CURRENCIES, 2)], strict=True)),
        response=lambda rng, _: {"result": _number(rng)},
        answer="AMOUNT FROM is {result} TO.",
    ),
    Kind(
        names="translate|translator|translate_text|translateText|translation",
        description="{Translate|Translates} {a text|text} {into another language|to a language}{|.}",
        questions=["translate TEXT {to|into} LANGUAGE", 'translate "TEXT" {to|into} LANGUAGE', 'how do you say "TEXT" in LANGUAGE', "what is TEXT in LANGUAGE"],
        parameters={"TEXT": ("text|phrase|input|sentence", "string"), "LANGUAGE": ("language|target_language|to|lang", "string")},
        values=lambda rng: {"TEXT": rng.choice(["Hello", "Good morning", "Thank you", title(rng), title(rng)]), "LANGUAGE": rng.choice(_LANGUAGES)},
        response=lambda rng, _: {"translation": made_up(rng).capitalize()},
        answer='In LANGUAGE it is "{translation}".',
    ),
    Kind(
        names="get_stock_price|stock_price|stock|getStockPrice|quote|share_price|ticker",
        description="{Get|Returns|Look up} the {|current }{price|stock price} of a {company|stock|ticker}{|.}",
        questions=["what is the {stock price|share price|price of the stock} of COMPANY", "how is COMPANY stock doing", "{get|check|show me} the {stock|share} price of COMPANY", "how much is a share of COMPANY"],
        parameters={"COMPANY": ("symbol|company|ticker|stock|name", "string")},
        values=lambda rng: {"COMPANY": rng.choice([made_up(rng).capitalize(), "".join(rng.choices("ABCDEGKLMNOPRSTV", k=4))])},
        response=lambda rng, _: {"price": _number(rng)},
        answer="The price of COMPANY is {price}.",
    ),
    Kind(
        names="send_email|email|send_mail|sendEmail|mail|send_message|message|sendMessage",
        description="{Send|Sends} {an email|a message} to {a person|someone}{|.}",
        questions=["{send|write} {an email|a message|a mail} to NAME {saying|that says|with the text} TEXT", 'tell NAME: "TEXT"', 'email NAME "TEXT"', "message NAME and say TEXT"],
        parameters={"NAME": ("to|recipient|name|person", "string"), "TEXT": ("body|text|message|content", "string")},
        values=lambda rng: {"NAME": person(rng), "TEXT": rng.choice(["Hello", "See you soon", "I am late", f"The {thing(rng)} is ready", f"Meet me at {_clock(rng)}"])},
        response=lambda _rng, _: {"status": "sent"},
        answer="I sent your message to NAME.",
    ),
    Kind(
        names="set_timer|timer|start_timer|setTimer|countdown",
        description="{Set|Starts|Start} a timer {for some minutes|in minutes}{|.}",
        questions=["{set|start} a timer for MINUTES minutes", "wake me in MINUTES minutes", "timer MINUTES minutes", "remind me in MINUTES minutes"],
        parameters={"MINUTES": ("minutes|duration|duration_minutes|length", "integer")},
        values=lambda rng: {"MINUTES": rng.randint(2, 90)},
        response=lambda _rng, _: {"status": "started"},
        answer="The timer is set for MINUTES minutes.",
    ),
    Kind(
        names="book_table|reserve_table|bookTable|reservation|make_reservation|book",
        description="{Book|Reserve|Books} a table {at|in} a restaurant{|.}",
        questions=["{book|reserve} a table for PEOPLE at PLACE", "i want a table for PEOPLE {people |}at PLACE", "make a reservation at PLACE for PEOPLE people"],
        parameters={"PLACE": ("restaurant|place|name|venue", "string"), "PEOPLE": ("people|guests|party_size|seats", "integer")},
        values=lambda rng: {"PLACE": title(rng), "PEOPLE": rng.randint(2, 12)},
        response=lambda _rng, _: {"status": "booked"},
        answer="I booked a table for PEOPLE at PLACE.",
    ),
    Kind(
        names="get_user|find_user|lookup_customer|getUser|get_profile|user_info|find_person",
        description="{Get|Find|Look up} {a user|a customer|a person} by name{|.}",
        questions=["{who is|find|look up|get} {|the user |the customer |}NAME", "{show me|get} the {profile|record|data} of NAME", "what is the {email|phone number|age} of NAME"],
        parameters={"NAME": ("name|user|username|customer|person", "string")},
        values=lambda rng: {"NAME": person(rng)},
        response=lambda rng, _: {"age": rng.randint(18, 90), "city": city(rng)},
        answer="NAME is {age} years old and lives in {city}.",
    ),
    Kind(
        names="roll_dice|dice|rollDice|random_number|roll",
        description="{Roll|Rolls} {a die|dice} with some sides{|.}",
        questions=["roll a {die|dice} with SIDES sides", "roll a SIDES sided die", "throw a die with SIDES sides"],
        parameters={"SIDES": ("sides|faces|n|max", "integer")},
        values=lambda rng: {"SIDES": rng.randint(4, 100)},
        response=lambda rng, values: {"result": rng.randint(1, int(values["SIDES"]))},
        answer="You rolled a {result}.",
    ),
]  # fmt: skip
