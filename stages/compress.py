"""One file from the codes, weighed with the code that opens it. Over the limit, nothing is written."""

from golf import budget
from golf.codec import code_bundle, container, packing
from golf.ground import lineage, params, stage, store
from golf.ground.closure import closure
from golf.ground.progress import Progress
from golf.quant import codes

CODES = "artifacts/quantize/codes.safetensors"
GOLF = "artifacts/compress/model.golf"
CODE = "artifacts/compress/code.tar.xz"
SIZES = "artifacts/compress/sizes.json"
TABLE = "artifacts/compress/sizes.csv"
METHOD = "golf/method.py"


def main() -> None:
    compress = params.load("compress")
    stored, shape = codes.load(CODES)
    origin = lineage.of("compress", {"codes": CODES}, compress)
    files = closure(METHOD)
    packed = packing.pack(stored, shape, seen=origin["splits_seen"], codec=compress.codec, quality=compress.quality)
    code = code_bundle.pack(files)
    weighed = budget.weigh(len(packed), len(code), compress.limit_bytes, compress.code_reserve_bytes)
    store.write_bytes(GOLF, packed)
    store.write_bytes(CODE, code)
    sections = container.sizes(GOLF)
    store.write_table(TABLE, budget.table(sections, weighed))
    told = {"sections": sections, "code_files": files, "payload_sha256": store.digest(GOLF)}
    told["code_sha256"] = store.digest(CODE)
    store.write_json(SIZES, {**weighed, **told, "splits_seen": origin["splits_seen"], "lineage": origin})
    left = f"{weighed['headroom_bytes']:,} left"
    Progress("compress", None, "").done(f"{weighed['artifact_bytes']:,} of {compress.limit_bytes:,} bytes, {left}")


if __name__ == "__main__":
    stage.enter("compress", main)
