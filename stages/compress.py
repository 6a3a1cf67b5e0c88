"""One file from the codes, weighed with the code that opens it. Over the limit, nothing is written."""

from golf.artifacts import io, lineage
from golf.artifacts.source_deps import import_closure
from golf.compression import code_bundle, reader, size_budget, writer
from golf.config import loader
from golf.pipeline import runner
from golf.pipeline.progress import Progress
from golf.quantization import codes_io

CODES_PATH = "artifacts/quantize/codes.safetensors"
ARTIFACT_PATH = "artifacts/compress/model.golf"
CODE_PATH = "artifacts/compress/code.tar.xz"
SIZES_PATH = "artifacts/compress/sizes.json"
BREAKDOWN_PATH = "artifacts/compress/sizes.csv"
PREDICTOR_SOURCE = "golf/inference/predictor.py"


def main() -> None:
    cfg = loader.load_sections("compress")
    stored, model_cfg = codes_io.load(CODES_PATH)
    lineage_record = lineage.make_lineage("compress", {"codes": CODES_PATH}, cfg)
    code_files = import_closure(PREDICTOR_SOURCE)
    payload = writer.pack(
        stored,
        model_cfg,
        upstream_splits=lineage_record["splits_seen"],
        codec=cfg.codec,
        brotli_quality=cfg.brotli_quality,
    )
    code = code_bundle.pack(code_files)
    sizes = size_budget.check_size(len(payload), len(code), cfg.limit_bytes, cfg.code_reserve_bytes)
    io.write_bytes(ARTIFACT_PATH, payload)
    io.write_bytes(CODE_PATH, code)
    section_bytes = reader.section_bytes(ARTIFACT_PATH)
    io.write_csv(BREAKDOWN_PATH, size_budget.breakdown(section_bytes, sizes))
    details = {"sections": section_bytes, "code_files": code_files, "payload_sha256": io.sha256_file(ARTIFACT_PATH)}
    details["code_sha256"] = io.sha256_file(CODE_PATH)
    io.write_json(
        SIZES_PATH, {**sizes, **details, "splits_seen": lineage_record["splits_seen"], "lineage": lineage_record}
    )
    headroom = f"{sizes['headroom_bytes']:,} left"
    Progress("compress", None, "").finish(f"{sizes['artifact_bytes']:,} of {cfg.limit_bytes:,} bytes, {headroom}")


if __name__ == "__main__":
    runner.run_stage("compress", main)
