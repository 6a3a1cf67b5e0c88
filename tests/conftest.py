"""What several tests share: a thimble of text, and real data where a checkout has it."""

import random
from pathlib import Path

import pytest

NAMES = (
    "the old clerk,a young sailor,my neighbour,the baker,our teacher,a quiet farmer,the lighthouse keeper,her brother"
)
VERBS = "carried,painted,counted,mended,borrowed,measured,forgot,sold,described,watched"
THINGS = (
    "seven lamps,a wooden boat,the yellow map,12 baskets of apples,an iron key,the long letter,3 brass clocks,a kite"
)
PLACES = "by the harbour,under the bridge,in the market square,behind the mill,near the railway,at the edge of the wood"
TIMES = "before sunrise,on Thursday,in 1904,after the storm,every winter,without a word,while it rained,at last"


def thimble_documents(count: int = 60) -> list[str]:
    """Short English documents, all different, the same on every machine."""
    dice = random.Random(1)
    choices = [part.split(",") for part in (NAMES, VERBS, THINGS, PLACES, TIMES)]
    documents = []
    for number in range(count):
        sentences = []
        for _ in range(dice.randint(3, 8)):
            sentence = " ".join(dice.choice(part) for part in choices)
            sentences.append(sentence[0].upper() + sentence[1:] + dice.choice([".", ".", "!", "; nobody asked why."]))
        documents.append(f"Chapter {number}\n\n" + " ".join(sentences))
    return documents


@pytest.fixture(scope="session")
def thimble() -> list[str]:
    return thimble_documents()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real tokenizers and texts beside the repository; skips where they are not."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder}")
    return folder
