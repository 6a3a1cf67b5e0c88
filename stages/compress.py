"""Compress: pack the codes into one file and the code that opens it into another; write nothing over the size limit."""

import dataclasses

from golf.artifacts import io, json_records, lineage
from golf.artifacts.source_deps import find_import_closure
from golf.compression import code_archive, reader, size_budget, writer
from golf.compression.code_parts import RunParts, list_unused_modules
from golf.config import loader
from golf.pipeline import runner
from golf.pipeline.progress import log_line
from golf.quantization import codes_io
from golf.submission.bundle import packing

CODES_PATH = "artifacts/quantize/codes.safetensors"
ARTIFACT_PATH = "artifacts/compress/model.golf"
CODE_PATH = "artifacts/compress/code.tar.xz"
BUNDLE_PATH = "artifacts/compress/bundle.pyz"
SIZES_PATH = "artifacts/compress/sizes.json"
BREAKDOWN_PATH = "artifacts/compress/sizes.csv"
PREDICTOR_SOURCE = "golf/inference/predictor.py"


def main() -> None:
    sections = dict(zip(packing.SECTIONS, loader.load_sections(*packing.SECTIONS), strict=True))
    settings = {name: dataclasses.asdict(section) for name, section in sections.items()}
    cfg = sections["compress"]
    stored, model_cfg, trellis_states = codes_io.load(CODES_PATH)
    record = lineage.make_lineage("compress", {"codes": CODES_PATH}, cfg)
    options = {"codec": cfg.codec, "brotli_quality": cfg.brotli_quality, "trellis_states": trellis_states}
    payload = writer.pack(stored, model_cfg, upstream_splits=record["splits_seen"], **options)
    codecs = frozenset(section.codec for section in reader.parse(ARTIFACT_PATH, payload)[0].sections)
    parts = RunParts.from_settings(settings, model_cfg, codecs)
    code_files = find_import_closure(PREDICTOR_SOURCE, excluded=list_unused_modules(parts))
    code = code_archive.pack(code_files)
    bundle = packing.pack_bundle(settings)
    code_bytes = {"predictor": len(code), "bundle": len(bundle)}
    limits = cfg.limit_bytes, cfg.code_reserve_bytes
    sizes = size_budget.require_within_limit(len(payload), code_bytes[cfg.count], *limits)
    io.write_bytes(ARTIFACT_PATH, payload)
    io.write_bytes(CODE_PATH, code)
    io.write_bytes(BUNDLE_PATH, bundle)
    section_bytes = size_budget.measure_sections(ARTIFACT_PATH)
    io.write_csv(BREAKDOWN_PATH, size_budget.tabulate_sizes(section_bytes, sizes))
    digests = {"payload_sha256": io.sha256_file(ARTIFACT_PATH), "code_sha256": io.sha256_file(CODE_PATH)}
    digests["bundle_sha256"] = io.sha256_file(BUNDLE_PATH)
    counted = {"code_counted": cfg.count} | {f"{kind}_code_bytes": n_bytes for kind, n_bytes in code_bytes.items()}
    details = {"sections": section_bytes, "code_files": code_files, **counted, **digests}
    json_records.write_sealed(SIZES_PATH, {**sizes, **details, "splits_seen": record["splits_seen"], "lineage": record})
    summary = f"{sizes['artifact_bytes']:,} of {cfg.limit_bytes:,} bytes, {sizes['headroom_bytes']:,} left"
    log_line("compress", summary)


if __name__ == "__main__":
    runner.run_stage("compress", main)
