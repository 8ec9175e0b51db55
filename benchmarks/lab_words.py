"""Sentences about things of a topic, for the method lab's pairs on a text encoder: words written for it, drawn by seed."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

#: The topics that the base's head knows, and those of the task.
BASE = {
    "animal": "dog cat horse rabbit goat lion bear fox zebra donkey camel tiger monkey elephant mouse squirrel wolf deer otter "
    "whale shark dolphin parrot eagle penguin lizard frog snake turtle beetle spider moth badger hedgehog panther "
    "leopard",
    "food": "bread cheese butter honey soup pasta pizza sandwich sausage omelette pancake salad yoghurt biscuit pudding "
    "mustard ketchup noodles porridge bacon steak dumpling muffin pie waffle curry stew gravy jam toast pickle "
    "lasagne popcorn custard doughnut meatball",
    "tool": "hammer saw drill chisel wrench pliers shovel axe screwdriver rake hoe ladder crowbar sickle mallet trowel scythe "
    "clamp spanner hacksaw pickaxe plane file sander wheelbarrow jigsaw anvil tongs spade vice scraper stapler level "
    "auger plunger nail",
    "clothing": "shirt sock coat dress glove scarf skirt jacket sweater hat trousers belt boot sandal blouse cardigan apron vest "
    "tie stocking slipper raincoat hoodie jeans kimono poncho mitten bonnet tunic cloak tuxedo pyjamas sneaker shawl "
    "overalls corset",
    "vehicle": "bus truck bicycle tram scooter van lorry car train ferry canoe yacht tractor helicopter airplane submarine "
    "ambulance motorcycle taxi sled wagon barge raft rocket carriage minibus jeep trolley glider hovercraft limousine "
    "tank kayak cart moped bulldozer",
    "instrument": "piano guitar drum flute trumpet cello harp violin organ clarinet oboe saxophone banjo tambourine accordion "
    "trombone xylophone ukulele mandolin bassoon harmonica lute tuba bagpipes viola cymbal recorder keyboard sitar "
    "piccolo bugle gong zither marimba lyre castanets",
    "body": "arm leg knee elbow shoulder finger thumb ankle wrist neck nose ear tongue tooth chin cheek forehead hip rib "
    "spine lung liver kidney heart stomach muscle skin toe heel eyelid eyebrow throat skull thigh palm jaw",
    "weather": "rain snow hail thunder lightning fog mist drizzle storm blizzard hurricane tornado breeze gale frost sleet "
    "drought heatwave cloud sunshine rainbow cyclone monsoon downpour typhoon dew gust smog whirlwind icicle "
    "avalanche flood shower overcast squall haze",
}  # fmt: skip
TASK = {
    "furniture": "chair sofa bench stool table desk bed wardrobe cupboard bookcase dresser armchair cradle couch cabinet shelf "
    "mattress hammock nightstand ottoman sideboard bunk footstool rocker recliner bureau futon chest lectern throne "
    "crib pew settee vanity hatstand workbench",
    "sport": "tennis football hockey cricket golf rugby judo boxing wrestling swimming rowing fencing archery skiing skating "
    "cycling gymnastics volleyball basketball baseball badminton surfing sailing polo karate bowling marathon "
    "handball squash snowboarding climbing triathlon javelin softball lacrosse curling",
    "profession": "baker doctor farmer barber mechanic plumber lawyer dentist nurse teacher butcher carpenter florist pilot tailor "
    "chef judge banker librarian engineer painter astronomer electrician journalist architect surgeon shepherd "
    "postman cashier waiter gardener actor firefighter accountant sailor locksmith",
    "plant": "oak rose tulip daisy fern moss ivy birch willow pine lily orchid cactus nettle clover maple elm daffodil "
    "lavender thistle poppy sunflower bamboo sycamore holly dandelion primrose violet heather jasmine magnolia cedar "
    "beech hyacinth mistletoe marigold",
    "metal": "iron copper silver gold zinc tin nickel lead aluminium platinum cobalt titanium bronze brass steel mercury "
    "tungsten chromium magnesium uranium lithium sodium potassium calcium manganese palladium pewter bismuth cadmium "
    "radium gallium barium vanadium iridium beryllium antimony",
    "country": "France Italy Spain Germany Japan China Russia Greece Egypt Portugal Austria Ireland Norway Sweden Finland "
    "Denmark Poland Hungary Cuba Peru Kenya Canada Thailand Turkey Iran Belgium Chile Vietnam Scotland Ukraine "
    "Switzerland Australia Bulgaria Morocco Nepal Ghana",
}  # fmt: skip
#: Nothing in them but the word says which topic it is.
SENTENCES = (
    "We talked about {w} all evening.", "There was a picture of {w} in the book.", "She wrote a long letter about {w}.",
    "I have never thought much about {w}.", "The children wanted to know more about {w}.", "His favourite story is about {w}.",
    "They made a short film about {w} last year.", "You can read about {w} on the next page.", "Nobody at the party mentioned {w}.",
    "The word of the day is {w}.", "My aunt knows everything about {w}.", "The quiz had a question about {w}.",
)  # fmt: skip
#: Of the words of a topic: so many for training, the next for validation, the rest for the test.
TRAINING, VALIDATION = 20, 4

#: Function words of an invented dialect.
DIALECT = {
    "we": "vo", "talked": "blemmed", "about": "umba", "all": "olk", "there": "tarn", "was": "wiz", "a": "ka", "of":
    "eth", "in": "yn", "the": "zu", "she": "hesh", "wrote": "skrolt", "i": "yo", "have": "hond", "never": "nimmo",
    "to": "ti", "know": "kennit", "more": "mor", "his": "hesk", "is": "eb", "they": "thoy", "made": "frob", "you":
    "ju", "can": "mogs", "read": "leggit", "on": "oan", "at": "et", "my": "moy", "had": "hadda",
}  # fmt: skip
ENDINGS = ("ek", "um", "oth", "ina")


class Sentence(NamedTuple):
    """A sentence and what it is about."""

    text: str
    label: str


def words(topic: str, part: str) -> list[str]:
    """The words of a topic for "training", "validation" or "test": no word is in two parts."""
    found = {**BASE, **TASK}[topic].split()
    first, second = TRAINING, TRAINING + VALIDATION
    return {"training": found[:first], "validation": found[first:second], "test": found[second:]}[part]


def sentences(topics: Sequence[str], part: str, each: int, seed: int, style: str = "") -> list[Sentence]:
    """``each`` sentences about every word of the topics, drawn by seed, in clean spelling or in a style."""
    draw = Random(f"{seed} {part} {style}")
    found = [
        Sentence(altered(say.format(w=word), style, draw), topic)
        for topic in topics
        for word in words(topic, part)
        for say in draw.sample(SENTENCES, each)
    ]
    draw.shuffle(found)
    return found


def drawn(topics: Sequence[str], draw: Random, style: str = "") -> Sentence:
    """One sentence to train on."""
    topic = draw.choice(list(topics))
    text = draw.choice(SENTENCES).format(w=draw.choice(words(topic, "training")))
    return Sentence(altered(text, style, draw), topic)


def altered(text: str, style: str, draw: Random) -> str:
    """The text in a style: "" as it is, "noise" or "dialect"."""
    if not style:
        return text
    change = _noisy if style == "noise" else _in_dialect
    return " ".join(change(word, draw) for word in text.rstrip(".").split()) + "."


def _noisy(word: str, draw: Random) -> str:
    """Letters swapped with the next, left out or doubled, by chance."""
    letters, out, i = list(word), list[str](), 0
    while i < len(letters):
        kind = draw.random()
        if kind < 0.12 and i + 1 < len(letters):
            out += [letters[i + 1], letters[i]]
            i += 2
            continue
        out += [] if kind < 0.2 and len(letters) > 3 else [letters[i]] * (2 if kind < 0.3 else 1)
        i += 1
    return "".join(out)


def _in_dialect(word: str, draw: Random) -> str:
    """Function words by the dialect's, an ending on all others."""
    return DIALECT.get(word.lower()) or word + draw.choice(ENDINGS)
