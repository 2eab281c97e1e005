"""What the model says in random mode: sentences about nothing in particular.

Most are ASCII; some carry multi-byte characters so that clients meet them.
"""

from __future__ import annotations

from random import Random

from simulator.engine.text.plans import TokenPlan
from simulator.engine.text.tokenizer import Tokenizer

_RING_SENTENCES = 2048

SENTENCES: tuple[str, ...] = (
    "The rest is silence.",
    "To be or not to be, that is the question.",
    "Alas, poor Yorick! I knew him, Horatio: a fellow of infinite jest.",
    "All the world is a stage, and all the men and women are only players.",
    "Give a man a fish and you feed him for a day.",
    "Teach a man to fish and you feed him for a lifetime.",
    "Today is a nice sunny day.",
    "Today it is partly cloudy and it may rain in the evening.",
    "The temperature here is twenty-five degrees.",
    "I am fine, how are you today?",
    "I am your assistant, how can I help you?",
    "Testing, testing, one, two, three.",
    "The train leaves the station at 9:45 every morning.",
    "A river runs through the valley and turns north at the old bridge.",
    "She opened the window and listened to the sound of the sea.",
    "Most of the letters were written before the end of the war.",
    "There are three reasons for this, and the first one is the most important.",
    "The second reason is that nobody measured it before.",
    "In other words, the answer depends on the question.",
    "Let us look at an example: two plus two is four.",
    "The committee met in March and decided to wait until the summer.",
    "Both brothers had the same name, which made everything more difficult.",
    "He bought bread, milk and a bag of apples on his way home.",
    "The museum is open from Tuesday to Sunday.",
    "Water boils at 100 degrees at sea level.",
    "The library has more than 40,000 books in twelve languages.",
    "It was a quiet street with small houses and large gardens.",
    "We walked for two hours and did not see another person.",
    "The doctor said that rest and fresh air would help.",
    "Nothing in the report explains the difference between the two results.",
    "The engineers built a second road on the other side of the mountain.",
    "If the weather is good, the festival will take place in the park.",
    "The captain kept a record of every voyage.",
    "A good map is worth more than a fast horse.",
    "The students compared both versions and found seven mistakes.",
    "Children learn a language by hearing it again and again.",
    "The price of coffee has increased since the beginning of the year.",
    "Please send the documents before the end of the week.",
    "This method is simple, fast and easy to explain.",
    "However, it does not work when the data is not complete.",
    "The moon was bright enough to read by.",
    "They agreed to meet again in front of the theatre.",
    "The queue moved slowly, but everybody remained patient.",
    "An old friend of mine lives in that village.",
    "The experiment was repeated ten times with the same result.",
    "What happened next is still under discussion.",
    "The artist used only three colours: black, red and gold.",
    "On the left you can see the kitchen, on the right the living room.",
    "The law was changed in 1987 and again in 2004.",
    "Some of the reviewers liked the comedy; others found it too long.",
    "The twins were separated by a storm when they were very young.",
    "In the end the merchant found both of his sons.",
    "Every server in the group received about the same number of requests.",
    "The café on the corner serves the best crème brûlée in town.",
    "Il a dit « bonjour » et il est parti.",
    "Die Straße führt über die Brücke nach Köln.",
)


class PhraseBook:
    """The sentences as token ids, laid out once in random order; shared by every replica of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        rng = Random(0)  # the same book everywhere: a seeded request says the same on every replica
        self.tokenizer = tokenizer
        spaced = [tuple(tokenizer.encode(" " + sentence)) for sentence in SENTENCES]
        openings = [tuple(tokenizer.encode(sentence)) for sentence in SENTENCES]
        self.ring: list[int] = []
        # an answer: its opening sentence without a blank before it, then the ring from here on
        self.starts: list[tuple[tuple[int, ...], int]] = []
        for _ in range(_RING_SENTENCES):
            k = rng.randrange(len(SENTENCES))
            self.ring += spaced[k]
            self.starts.append((openings[k], len(self.ring)))

    def plan(self, rng: Random, length: int | None, eos: int) -> TokenPlan:
        opening, after = self.starts[int(rng.random() * _RING_SENTENCES)]
        return TokenPlan(opening, self.ring, after, length, eos)
