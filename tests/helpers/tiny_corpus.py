"""A tiny corpus and a tiny model, the same on every machine."""

import random
from pathlib import Path

from golf.config.model import ModelConfig

ROOT = Path(__file__).parents[2]
# Four layers with everything in them: a loop, a parallel layer, shared keys, partial RoPE.
TINY_MODEL_CONFIG = ModelConfig(
    vocab_size=260,
    n_layers=4,
    d_model=32,
    n_heads=4,
    n_kv_heads=2,
    d_ff=64,
    context_length=32,
    rope_dims=4,
    rope_base=10000.0,
    qk_gain=2.0,
    leaky_slope=0.5,
    softcap=30.0,
    embed_std=0.005,
    recur_start=1,
    recur_end=2,
    recur_passes=2,
    parallel_residual_from=3,
    xsa_from=0,
    doc_mask_bos_id=None,
    attn_gate="none",
    smear_gate_bos_id=None,
    conv_kernel=1,
    two_lane_from=None,
    asym_softcap=False,
)

_SUBJECTS = (
    "the old clerk,a young sailor,my neighbour,the baker,our teacher,a quiet farmer,the lighthouse keeper,her brother"
)
_VERBS = "carried,painted,counted,mended,borrowed,measured,forgot,sold,described,watched"
_OBJECTS = (
    "seven lamps,a wooden boat,the yellow map,12 baskets of apples,an iron key,the long letter,3 brass clocks,a kite"
)
_PLACES = (
    "by the harbour,under the bridge,in the market square,behind the mill,near the railway,at the edge of the wood"
)
_TIMES = "before sunrise,on Thursday,in 1904,after the storm,every winter,without a word,while it rained,at last"


def make_tiny_corpus(n_documents: int = 60) -> list[str]:
    """Short English documents, all different, the same on every machine."""
    rng = random.Random(1)
    phrases_by_slot = [part.split(",") for part in (_SUBJECTS, _VERBS, _OBJECTS, _PLACES, _TIMES)]
    documents = []
    for index in range(n_documents):
        sentences = []
        for _ in range(rng.randint(3, 8)):
            sentence = " ".join(rng.choice(part) for part in phrases_by_slot)
            sentences.append(sentence[0].upper() + sentence[1:] + rng.choice([".", ".", "!", "; nobody asked why."]))
        documents.append(f"Chapter {index}\n\n" + " ".join(sentences))
    return documents
