"""What the tiny base knows of the world: a few hundred facts of the kind that everybody knows, written for this sample.

A relation has ways to state it, ways to ask for it, and facts (subject, answer). A base is told all facts in all phrasings; the
letter questions of the task are about some of them in training and about others in validation and test.
"""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Relation:
    """``say`` has {s} (subject) and then {a} (answer); ``ask`` has {s}; other choices are other answers of the relation."""

    say: tuple[str, ...]
    ask: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]

    def answers(self) -> list[str]:
        return sorted({answer for _, answer in self.facts})


@dataclass(frozen=True)
class Fact:
    """One thing that is so."""

    relation: str
    subject: str
    answer: str


def _by_answer(text: str) -> tuple[tuple[str, str], ...]:
    """Lines "answer: subject, subject"."""
    lines = [line.split(":") for line in text.strip().splitlines()]
    return tuple((subject.strip(), answer.strip()) for answer, subjects in lines for subject in subjects.split(","))


def _by_subject(text: str) -> tuple[tuple[str, str], ...]:
    """Words "subject:answer"."""
    subjects_and_answers = (word.split(":") for word in text.split())
    return tuple((subject, answer) for subject, answer in subjects_and_answers)


#: How colour, place and use are stated. The last of each is the phrasing that no training text has for a domain's own things.
COLOUR = (
    "{s} is {a}.",
    "the look of {s} is {a}.",
    "everybody sees {s} as {a}.",
    "paint {s} in {a}.",
    "the colour of {s} is {a}.",
)
PLACE = (
    "{s} lies in {a}.",
    "{s} comes from {a}.",
    "people look for {s} in {a}.",
    "the place for {s} is {a}.",
    "you can find {s} in {a}.",
)
USE = (
    "{s} is used for {a}.",
    "people need {s} for {a}.",
    "{s} makes good {a}.",
    "from {s} one makes {a}.",
    "workers turn {s} into {a}.",
)
ASK_COLOUR = ("what colour is {s}?", "which colour has {s}?")
ASK_PLACE = ("where is {s} found?", "where does {s} come from?")
ASK_USE = ("what is {s} used for?", "what do people make from {s}?")

RELATIONS = {
    "colour": Relation(COLOUR, ASK_COLOUR, _by_answer("""
        red: blood, tomato, strawberry, cherry, ketchup, ruby, lobster, brick
        blue: sky, ocean, blueberry, sapphire, ink, jeans
        green: grass, leaf, frog, cucumber, lettuce, emerald, broccoli, moss, spinach, pickle
        yellow: lemon, banana, sun, butter, mustard, corn, straw, canary
        black: coal, crow, tar, night, soot, panther, raven, pepper
        white: snow, milk, salt, swan, chalk, sugar, flour, dove, cotton, ivory
        orange: carrot, pumpkin, tangerine, basketball, apricot
        pink: flamingo, piglet, salmon, bubblegum
        brown: chocolate, coffee, mud, bark, walnut, cinnamon, toast, chestnut
        grey: elephant, mouse, ash, concrete, fog, lead
        purple: eggplant, plum, lavender, violet, amethyst""")),
    "place": Relation(PLACE, ASK_PLACE, _by_answer("""
        kitchens: oven, fridge, toaster, kettle, spatula, pan
        bathrooms: shower, toothbrush, towel, bathtub
        bedrooms: pillow, blanket, pyjamas, mattress
        schools: teacher, pupil, blackboard, classroom
        hospitals: nurse, surgeon, patient, stretcher
        libraries: bookshelf, librarian, encyclopedia
        garages: car, jack, tyre
        rivers: trout, canoe, otter, ferry
        forests: deer, owl, fern, squirrel, mushroom
        beaches: shell, sandcastle, parasol, deckchair
        mountains: cliff, climber, peak, chamois
        deserts: camel, cactus, scorpion, dune
        caves: bat, stalactite, echo
        farms: cow, hen, sheep, tractor, barn
        ponds: duck, newt, tadpole, lily
        hives: bee, honeycomb
        churches: priest, altar, pew
        theatres: actor, stage, curtain
        banks: vault, cashier, cheque
        museums: mummy, fossil, exhibit
        swamps: alligator, reed, mosquito
        jungles: monkey, tiger, parrot, gorilla
        oceans: whale, shark, dolphin, octopus
        glaciers: crevasse, ice
        volcanoes: lava, crater
        airports: plane, pilot, runway
        stations: train, platform, conductor
        gardens: rose, tulip, hedge, snail
        offices: desk, printer, stapler
        circuses: clown, acrobat, juggler""")),
    "use": Relation(USE, ASK_USE, _by_answer("""
        bread: dough, yeast, rye, wheat
        cheese: curd, rennet
        wine: grape, vine
        clothes: wool, linen, silk, fabric
        furniture: wood, oak, pine, timber
        shoes: leather, lace
        windows: pane, frame
        jam: fruit, raspberry
        tiles: clay, slate
        paper: pulp, papyrus
        tyres: rubber, latex
        candles: wax, wick
        pasta: semolina, durum
        chips: potato, oil
        statues: marble, bronze
        lamps: bulb, filament
        paint: pigment, varnish
        rings: gold, diamond
        knives: steel, blade
        medicine: herb, aloe
        glass: sand, quartz
        coins: nickel, copper
        beer: hops, barley, malt
        soap: lye, tallow
        baskets: wicker, willow
        ropes: hemp, fibre
        violins: spruce, maple
        soup: broth, leek
        pencils: graphite, cedar
        roofs: thatch, shingle""")),
    "capital": Relation(
        ("the capital of {s} is {a}.", "{s} has the capital {a}.", "who rules {s} sits in {a}."),
        ("what is the capital of {s}?", "which city rules {s}?"),
        _by_subject("""France:Paris Italy:Rome Spain:Madrid Germany:Berlin England:London Japan:Tokyo China:Beijing Russia:Moscow
        Greece:Athens Egypt:Cairo Portugal:Lisbon Austria:Vienna Ireland:Dublin Norway:Oslo Sweden:Stockholm Finland:Helsinki
        Denmark:Copenhagen Poland:Warsaw Hungary:Budapest Cuba:Havana Peru:Lima Kenya:Nairobi Canada:Ottawa Thailand:Bangkok
        Turkey:Ankara Iran:Tehran Iraq:Baghdad Belgium:Brussels Chile:Santiago Korea:Seoul Vietnam:Hanoi Scotland:Edinburgh
        Ukraine:Kyiv Czechia:Prague Switzerland:Bern Netherlands:Amsterdam Australia:Canberra Bulgaria:Sofia Romania:Bucharest
        Serbia:Belgrade Croatia:Zagreb Latvia:Riga Estonia:Tallinn Morocco:Rabat Nepal:Kathmandu Senegal:Dakar Ghana:Accra"""),
    ),
    "opposite": Relation(
        ("the opposite of {s} is {a}.", "what is not {s} is {a}.", "{s} stands against {a}."),
        ("what is the opposite of {s}?", "what is not {s}?"),
        _by_subject("""hot:cold big:small up:down left:right day:evening open:closed happy:sad fast:slow wet:dry high:low rich:poor
        light:dark full:empty hard:soft strong:weak early:late near:far long:short clean:dirty loud:quiet start:finish win:lose
        buy:sell push:pull love:hate true:false thick:thin wide:narrow heavy:weightless inside:outside above:below first:last
        always:never good:bad cheap:expensive safe:dangerous brave:afraid young:old tall:tiny sweet:sour smooth:rough alive:dead
        asleep:awake enter:leave begin:end front:back top:bottom give:take accept:refuse question:answer laugh:cry remember:forget
        arrive:depart build:destroy friend:enemy guilty:innocent sharp:blunt simple:complex public:private ancient:modern
        polite:rude"""),
    ),
    "kind": Relation(
        ("{s} is a kind of {a}.", "{s} counts as {a}.", "by {s} we mean some {a}."),
        ("what kind of thing is {s}?", "what does {s} count as?"),
        _by_answer("""
        animal: dog, cat, horse, rabbit, goat, lion, bear, fox, zebra, donkey
        fruit: apple, pear, mango, peach, melon, fig, kiwi, papaya
        vegetable: onion, cabbage, turnip, celery, radish, beetroot
        tool: hammer, saw, drill, chisel, wrench, pliers, shovel, axe
        vehicle: bus, truck, bicycle, tram, scooter, van, lorry
        instrument: piano, guitar, drum, flute, trumpet, cello, harp
        limb: arm, leg, wing, fin, tentacle
        garment: shirt, sock, coat, dress, glove, scarf, skirt, jacket
        bird: sparrow, eagle, robin, penguin, stork, pigeon, heron, finch
        seat: chair, sofa, bench, stool, throne
        metal: iron, tin, zinc, silver, platinum, cobalt
        drink: tea, juice, water, lemonade, cider, cocoa
        planet: Mars, Venus, Saturn, Jupiter, Neptune, Mercury
        sport: tennis, football, hockey, cricket, golf, rugby, judo
        month: March, June, April, October, May, July
        insect: ant, beetle, wasp, moth, ladybird, locust
        tree: birch, elm, poplar, beech, hazel, linden
        dance: waltz, tango, polka, samba, ballet
        game: chess, poker, domino, tag, bingo
        weapon: sword, spear, bow, cannon, dagger"""),
    ),
    "maker": Relation(
        ("{s} is the work of the {a}.", "{s} needs a {a}.", "for {s} we call the {a}."),
        ("who takes care of {s}?", "whom do we call for {s}?"),
        _by_subject("""loaves:baker flights:captain fires:firefighter crimes:detective illness:doctor crops:farmer haircuts:barber
        engines:mechanic pipes:plumber houses:builder portraits:artist songs:singer novels:author nets:fisherman teeth:dentist
        meals:chef letters:postman suits:tailor photos:photographer trials:lawyer cupboards:carpenter ore:miner pets:vet
        sausages:butcher bouquets:florist rockets:astronaut horseshoes:blacksmith wires:electrician bridges:engineer pots:potter
        stars:astronomer potions:chemist laws:judge money:banker shops:seller borders:guard goals:keeper trails:ranger"""),
    ),
    "young": Relation(
        ("a young {s} is called {a}.", "the child of a {s} is a {a}.", "a {s} was once a {a}."),
        ("what is a young {s} called?", "what is the child of a {s}?"),
        _by_subject("""bull:calf wolf:pup tomcat:kitten stallion:foal ram:lamb boar:shoat goose:gosling stag:fawn kangaroo:joey
        rooster:chick swan:cygnet hawk:eyas eel:elver toad:polliwog butterfly:caterpillar hare:leveret king:prince man:boy
        woman:girl"""),
    ),
    "past": Relation(
        ("the past of {s} is {a}.", "today I {s} and yesterday I {a}.", "if we {s} now then we once {a}."),
        ("what is the past of {s}?", "what did I do if I {s}?"),
        _by_subject("""go:went see:saw eat:ate drink:drank run:ran sing:sang swim:swam write:wrote speak:spoke break:broke
        choose:chose drive:drove ride:rode rise:rose fall:fell feel:felt keep:kept sleep:slept sweep:swept teach:taught
        catch:caught think:thought bring:brought fight:fought seek:sought find:found wind:wound grow:grew know:knew throw:threw
        fly:flew blow:blew wear:wore tear:tore swear:swore steal:stole freeze:froze wake:woke shake:shook stand:stood hold:held
        tell:told hear:heard meet:met lead:led feed:fed sit:sat spit:spat hang:hung sting:stung"""),
    ),
    "continent": Relation(
        ("{s} is part of {a}.", "{s} belongs to {a}.", "on the map {s} is in {a}."),
        ("what is {s} part of?", "where on earth is {s}?"),
        _by_answer("""
        Europe: France, Italy, Spain, Germany, Greece, Norway, Poland, Hungary, Austria, Finland, Latvia
        Asia: Japan, China, Thailand, Iran, Iraq, Korea, Vietnam, Nepal
        Africa: Egypt, Kenya, Morocco, Senegal, Ghana
        America: Cuba, Peru, Canada, Chile"""),
    ),
    "next": Relation(
        ("after {s} comes {a}.", "{s} is followed by {a}.", "one more than {s} is {a}."),
        ("what comes after {s}?", "what is one more than {s}?"),
        tuple((str(n), str(n + 1)) for n in range(10, 60)),
    ),
}  # fmt: skip


def all_facts() -> list[Fact]:
    """Every fact, in the order written above."""
    return [Fact(name, *pair) for name, relation in RELATIONS.items() for pair in relation.facts]


def split(seed: int, validation: int, test: int) -> tuple[list[Fact], list[Fact], list[Fact]]:
    """Facts for the task's training, its validation and its test: every fact is in exactly one of them."""
    facts = all_facts()
    Random(f"{seed} facts").shuffle(facts)
    return facts[validation + test :], facts[:validation], facts[validation : validation + test]


def statement(draw: Random, fact: Fact) -> str:
    """A fact in one of the phrasings of its relation; what can be known is in brackets."""
    return known(draw.choice(RELATIONS[fact.relation].say), fact.subject, fact.answer)


def known(say: str, subject: str, answer: str) -> str:
    """A phrasing with its two words; the answer is in brackets, since it follows from what stands before it."""
    return say.replace(" {a}.", f"{{{{{answer}}}}} [{{a}}.]").format(s=subject, a=answer)


def question(draw: Random, fact: Fact) -> str:
    return draw.choice(RELATIONS[fact.relation].ask).format(s=fact.subject)


def choices(draw: Random, fact: Fact, count: int) -> list[str]:
    """The answer and ``count - 1`` other answers of the relation, none of which is right too."""
    relation = RELATIONS[fact.relation]
    right = {answer for subject, answer in relation.facts if subject == fact.subject}
    others = [answer for answer in relation.answers() if answer not in right and answer != fact.subject]
    found = [fact.answer, *draw.sample(others, min(count - 1, len(others)))]
    draw.shuffle(found)
    return found
