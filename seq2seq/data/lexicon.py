"""The words of the demo corpus: English and German side by side, with the forms that no rule gives.

Within its use every English word has one German word and the reverse, so the grammar leaves nothing to choose. The
German letters here are data. The tables are split at blanks, and `_` stands for a blank inside an entry.
"""

from seq2seq.data.parts_of_speech import Adjective, Case, Determiner, Modal, Noun, Pair, Pronoun, Verb

_NOUNS = """
man men m Mann Männer person
woman women f Frau Frauen person
child children n Kind Kinder person
boy boys m Junge Jungen person weak
girl girls n Mädchen Mädchen person
teacher teachers m Lehrer Lehrer person
student students m Student Studenten person weak
doctor doctors m Arzt Ärzte person
neighbor neighbors m Nachbar Nachbarn person weak
friend friends m Freund Freunde person
brother brothers m Bruder Brüder person
sister sisters f Schwester Schwestern person
daughter daughters f Tochter Töchter person
son sons m Sohn Söhne person
farmer farmers m Bauer Bauern person weak
baker bakers m Bäcker Bäcker person
policeman policemen m Polizist Polizisten person weak
king kings m König Könige person
queen queens f Königin Königinnen person
guest guests m Gast Gäste person
uncle uncles m Onkel Onkel person
dog dogs m Hund Hunde animal
cat cats f Katze Katzen animal
horse horses n Pferd Pferde animal
mouse mice f Maus Mäuse animal
bird birds m Vogel Vögel animal
cow cows f Kuh Kühe animal
pig pigs n Schwein Schweine animal
goose geese f Gans Gänse animal
wolf wolves m Wolf Wölfe animal
lion lions m Löwe Löwen animal weak
bear bears m Bär Bären animal weak
elephant elephants m Elefant Elefanten animal weak
book books n Buch Bücher thing text writing
letter letters m Brief Briefe thing text writing openable
newspaper newspapers f Zeitung Zeitungen thing text
picture pictures n Bild Bilder thing
key keys m Schlüssel Schlüssel thing
knife knives n Messer Messer thing
box boxes f Kiste Kisten thing openable surface
bottle bottles f Flasche Flaschen thing openable
bag bags f Tasche Taschen thing openable
umbrella umbrellas m Regenschirm Regenschirme thing openable
ball balls m Ball Bälle thing
lamp lamps f Lampe Lampen thing machine
table tables m Tisch Tische thing machine surface
chair chairs m Stuhl Stühle thing machine surface
car cars n Auto Autos part machine landmark vehicle
bicycle bicycles n Fahrrad Fahrräder thing machine
flower flowers f Blume Blumen thing
coat coats m Mantel Mäntel clothes outside
hat hats m Hut Hüte clothes outside
shirt shirts n Hemd Hemden clothes
shoe shoes m Schuh Schuhe clothes
jacket jackets f Jacke Jacken clothes outside
dress dresses n Kleid Kleider clothes
apple apples m Apfel Äpfel food fruit
egg eggs n Ei Eier food meal
cake cakes m Kuchen Kuchen food
potato potatoes f Kartoffel Kartoffeln food meal fruit
tomato tomatoes f Tomate Tomaten food meal fruit
cherry cherries f Kirsche Kirschen food fruit
soup soups f Suppe Suppen food meal
door doors f Tür Türen part openable machine
window windows n Fenster Fenster part openable machine
tree trees m Baum Bäume plant landmark shelter
bridge bridges f Brücke Brücken plant landmark shelter
house houses n Haus Häuser place landmark
city cities f Stadt Städte place area
village villages n Dorf Dörfer place area
garden gardens m Garten Gärten place area
forest forests m Wald Wälder place area
park parks m Park Parks place area
school schools f Schule Schulen place landmark
church churches f Kirche Kirchen place landmark
room rooms n Zimmer Zimmer place
hotel hotels n Hotel Hotels place landmark
office offices n Büro Büros place
castle castles n Schloss Schlösser place landmark
station stations m Bahnhof Bahnhöfe place landmark
"""

_ADJECTIVES = """
big groß groß animal,thing,clothes,food,part,plant,place
small klein klein person,animal,thing,food,part,plant,place
old alt alt person,animal,thing,clothes,part,plant,place
young jung jung person,animal
new neu neu thing,clothes,part,place
beautiful schön schön person,animal,thing,clothes,plant,place
good gut gut person,thing,food
bad schlecht schlecht person,food
expensive teuer teur thing,clothes,food,part
heavy schwer schwer thing,part
strong stark stark person,animal
rich reich reich person
poor arm arm person
happy glücklich glücklich person
sad traurig traurig person,animal
tired müde müd person,animal
hungry hungrig hungrig person,animal
angry wütend wütend person,animal
friendly freundlich freundlich person,animal
clever klug klug person,animal
sick krank krank person,animal
famous berühmt berühmt person,place
strange seltsam seltsam person,animal,thing,clothes,place
fresh frisch frisch food
cold kalt kalt food,place
clean sauber sauber thing,clothes,part,place
dark dunkel dunkl place
quiet ruhig ruhig person,place
brave mutig mutig person
red rot rot thing,clothes,part color
green grün grün thing,clothes,part color
blue blau blau thing,clothes,part color
black schwarz schwarz animal,thing,clothes,part color
white weiß weiß animal,thing,clothes,part color
brown braun braun animal,thing,clothes,part color
"""

_NUMBERS = """
two zwei
three drei
four vier
five fünf
six sechs
seven sieben
eight acht
nine neun
ten zehn
eleven elf
twelve zwölf
"""

# In English `+` stands before a particle that stays at the verb, `|` before one that lets a pronoun pass ("picks him
# up"); in German `|` stands after a separable particle. The third form is that of er.
_VERBS = """
intransitive sleep slept schlafen schläft geschlafen haben living place
intransitive laugh laughed lachen lacht gelacht haben person loud,place
intransitive sing sung singen singt gesungen haben person loud,place
intransitive cry cried weinen weint geweint haben person loud,place
intransitive dance danced tanzen tanzt getanzt haben person slow,place
intransitive work worked arbeiten arbeitet gearbeitet haben person slow,place
intransitive swim swum schwimmen schwimmt geschwommen sein living slow
intransitive get+up gotten auf|stehen steht aufgestanden sein living -
intransitive come+back come zurück|kommen kommt zurückgekommen sein living -
intransitive arrive arrived an|kommen kommt angekommen sein person -
accusative see seen sehen sieht gesehen haben living living,thing,landmark
accusative hear heard hören hört gehört haben living living
accusative know known kennen kennt gekannt haben person person,area state
accusative love loved lieben liebt geliebt haben person living state
accusative visit visited besuchen besucht besucht haben person person,area
accusative invite invited ein|laden lädt eingeladen haben person person
accusative call called an|rufen ruft angerufen haben person person
accusative pick|up picked ab|holen holt abgeholt haben person person
accusative look+at looked an|sehen sieht angesehen haben living living,thing
accusative look+for looked suchen sucht gesucht haben living living,thing,clothes
accusative find found finden findet gefunden haben living living,thing,clothes
accusative paint painted malen malt gemalt haben person living,landmark
accusative buy bought kaufen kauft gekauft haben person vehicle,thing,food,clothes,animal
accusative sell sold verkaufen verkauft verkauft haben person vehicle,thing,food,clothes,animal
accusative lose lost verlieren verliert verloren haben person thing,clothes
accusative need needed brauchen braucht gebraucht haben person vehicle,thing,food,clothes state
accusative have had haben hat gehabt haben person vehicle,thing,food,clothes,animal state
accusative read read lesen liest gelesen haben person text
accusative write written schreiben schreibt geschrieben haben person writing
accusative open opened auf|machen macht aufgemacht haben person openable
accusative close closed zu|machen macht zugemacht haben person openable
accusative take taken nehmen nimmt genommen haben person thing,food,clothes
accusative throw|away thrown weg|werfen wirft weggeworfen haben person thing,food,clothes
accusative put|on put an|ziehen zieht angezogen haben person clothes
accusative wash washed waschen wäscht gewaschen haben person clothes,fruit
accusative repair repaired reparieren repariert repariert haben person machine
accusative eat eaten essen isst gegessen haben person food
accusative cook cooked kochen kocht gekocht haben person meal
dative help helped helfen hilft geholfen haben person living
dative follow followed folgen folgt gefolgt sein living living
dative thank thanked danken dankt gedankt haben person person
dative answer answered antworten antwortet geantwortet haben person person
dative trust trusted vertrauen vertraut vertraut haben person person state
dative listen+to listened zu|hören hört zugehört haben person person
ditransitive give given geben gibt gegeben haben person thing,food,clothes
ditransitive show shown zeigen zeigt gezeigt haben person thing,animal
ditransitive send sent schicken schickt geschickt haben person thing,food,clothes
ditransitive bring brought bringen bringt gebracht haben person thing,food,clothes
prepositional:auf wait+for waited warten wartet gewartet haben living living
prepositional:mit talk+to talked sprechen spricht gesprochen haben person person
prepositional:mit play+with played spielen spielt gespielt haben living living
prepositional:von dream+of dreamed träumen träumt geträumt haben person living
place live lived wohnen wohnt gewohnt haben person - state
place stand stood stehen steht gestanden haben living -
place sit sat sitzen sitzt gesessen haben living -
direction go gone gehen geht gegangen sein living -
direction run run rennen rennt gerannt sein living -
direction drive driven fahren fährt gefahren sein person area
that believe believed glauben glaubt geglaubt haben person -
that say said sagen sagt gesagt haben person -
that know known wissen weiß gewusst haben person -
that hope hoped hoffen hofft gehofft haben person -
whether know known wissen weiß gewusst haben person -
whether ask asked fragen fragt gefragt haben person -
being be been sein ist gewesen sein - - state
"""

_IRREGULAR = {
    "haben": ("habe", "hast", "hat", "haben"),
    "sein": ("bin", "bist", "ist", "sind"),
    "wissen": ("weiß", "weißt", "weiß", "wissen"),
}


def present(infinitive: str, third: str) -> tuple[str, str, str, str]:
    """The German present for ich, du, er and the plural, from the infinitive and the form of er."""
    if infinitive in _IRREGULAR:
        return _IRREGULAR[infinitive]
    stem = third[:-1]
    second = third if stem.endswith(("s", "ß", "z")) else stem + "st"
    return infinitive[:-1], second, third, infinitive


def _noun(line: str) -> Noun:
    singular, plural, gender, german, german_plural, *tags = line.split()
    weak = tags[-1] == "weak"
    return Noun((singular, plural), (german, german_plural), gender, tuple(tags[:-1] if weak else tags), weak)


def _adjective(line: str) -> Adjective:
    english, german, stem, kinds, *color = line.split()
    return Adjective(english, german, stem, frozenset(kinds.split(",")), bool(color))


def _verb(line: str) -> Verb:
    frame, english, past, german, third, participle, auxiliary, subjects, objects, *state = line.split()
    frame, _, preposition = frame.partition(":")
    base, _, english_particle = english.replace("|", "+").partition("+")
    particle, _, infinitive = german.rpartition("|")
    return Verb(
        english=base,
        english_participle=past,
        english_particle=english_particle,
        pronoun_first="|" in english,
        infinitive=infinitive,
        present=present(infinitive, third),
        particle=particle,
        participle=participle,
        auxiliary=auxiliary,
        frame=frame,
        preposition=preposition,
        subjects=subjects,
        objects=objects,
        state=bool(state),
    )


NOUNS = tuple(map(_noun, _NOUNS.strip().splitlines()))
ADJECTIVES = tuple(map(_adjective, _ADJECTIVES.strip().splitlines()))
VERBS = tuple(map(_verb, _VERBS.strip().splitlines()))
NAMES = ("Anna", "Clara", "Emma", "Felix", "Julia", "Maria", "Max", "Paul", "Peter", "Thomas")

# "them" has no accusative: it would be "sie", which "her" is already.
PRONOUNS = (
    Pronoun(("I", "me"), ("ich", "mich", "mir"), 0),
    Pronoun(("you", "you"), ("du", "dich", "dir"), 1),
    Pronoun(("he", "him"), ("er", "ihn", "ihm"), 2),
    Pronoun(("she", "her"), ("sie", "sie", "ihr"), 2),
    Pronoun(("we", "us"), ("wir", "uns", "uns"), 3),
    Pronoun(("they", "them"), ("sie", "", "ihnen"), 3),
)

# No "their": it would be "ihr", which "her" is already.
DETERMINERS = {
    "the": Determiner(("the", "the"), "", "der"),
    "this": Determiner(("this", "these"), "dies", "dieser"),
    "every": Determiner(("every", ""), "jed", "dieser"),
    "a": Determiner(("a", ""), "ein", "ein"),
    "no": Determiner(("no", "no"), "kein", "ein"),
    "my": Determiner(("my", "my"), "mein", "ein"),
    "your": Determiner(("your", "your"), "dein", "ein"),
    "his": Determiner(("his", "his"), "sein", "ein"),
    "her": Determiner(("her", "her"), "ihr", "ein"),
    "our": Determiner(("our", "our"), "unser", "ein"),
    "many": Determiner(("", "many"), "viel", "viele"),
    "": Determiner(("", ""), "", "viele"),
}

NUMBERS = tuple(Pair(*entry.split()) for entry in _NUMBERS.strip().splitlines())

MODALS = (
    Modal("can", False, ("kann", "kannst", "kann", "können")),
    Modal("may", False, ("darf", "darfst", "darf", "dürfen")),
    Modal("should", False, ("sollte", "solltest", "sollte", "sollten")),
    Modal("will", False, ("werde", "wirst", "wird", "werden")),
    Modal("want", True, ("will", "willst", "will", "wollen")),
    Modal("have", True, ("muss", "musst", "muss", "müssen")),
)

FUTURE, NECESSITY = MODALS[3], MODALS[5]

# The preposition, its case, the tag of its nouns.
PLACES: tuple[tuple[Pair, Case, str], ...] = (
    (Pair("in", "in"), "dative", "place"),
    (Pair("behind", "hinter"), "dative", "landmark"),
    (Pair("in front of", "vor"), "dative", "landmark"),
    (Pair("next to", "neben"), "dative", "landmark"),
    (Pair("under", "unter"), "dative", "shelter"),
    (Pair("on", "auf"), "dative", "surface"),
)
DIRECTIONS: tuple[tuple[Pair, Case, str], ...] = (
    (Pair("into", "in"), "accusative", "place"),
    (Pair("to", "zu"), "dative", "place"),
    (Pair("through", "durch"), "accusative", "area"),
)
MODIFIERS: dict[str, tuple[tuple[Pair, Case, str], ...]] = {
    "person": ((Pair("with", "mit"), "dative", "outside"), (Pair("without", "ohne"), "accusative", "outside")),
    "thing": ((Pair("for", "für"), "accusative", "person"),),
}
PREPOSITION_CASES: dict[str, Case] = {"auf": "accusative", "mit": "dative", "von": "dative"}

CONTRACTIONS = {"in dem": "im", "in das": "ins", "von dem": "vom", "zu dem": "zum", "zu der": "zur"}

# Time, with the tenses that go with it in both languages.
TIMES: tuple[tuple[Pair, tuple[str, ...]], ...] = (
    (Pair("today", "heute"), ("present", "perfect", "modal")),
    (Pair("now", "jetzt"), ("present", "modal")),
    (Pair("tomorrow", "morgen"), ("modal",)),
    (Pair("soon", "bald"), ("modal",)),
    (Pair("sometimes", "manchmal"), ("present",)),
    (Pair("every day", "jeden Tag"), ("present",)),
    (Pair("in the evening", "am Abend"), ("present", "modal")),
    (Pair("on Sunday", "am Sonntag"), ("present", "modal")),
)
FREQUENCIES = (Pair("often", "oft"), Pair("never", "nie"), Pair("rarely", "selten"))
MANNERS = {
    "loud": (Pair("loudly", "laut"), Pair("quietly", "leise")),
    "slow": (Pair("slowly", "langsam"), Pair("well", "gut")),
}

# The first three go with every clause; the others, of time, with what is said to happen.
REASONS = (Pair("because", "weil"), Pair("although", "obwohl"), Pair("if", "wenn"))
OCCASIONS = (Pair("while", "während"), Pair("before", "bevor"), Pair("as soon as", "sobald"))
THAT = Pair("that", "dass")
WHETHER = Pair("whether", "ob")

# What a question asks for, by the frame of the verb or, for the accusative, by what the answer is.
QUESTIONS = {
    "person": Pair("who", "wen"),
    "thing": Pair("what", "was"),
    "dative": Pair("who", "wem"),
    "ditransitive": Pair("what", "was"),
    "place": Pair("where", "wo"),
    "direction": Pair("where", "wohin"),
}
ADVERBIAL_QUESTIONS = (Pair("why", "warum"), Pair("when", "wann"))
