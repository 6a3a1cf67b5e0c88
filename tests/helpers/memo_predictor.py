"""golf's predictor, which leaves a memo in the ranks' store and looks for an older one. A test copies it."""

from torch.distributed import distributed_c10d

from golf.inference.predictor import GolfPredictor


class MemoPredictor(GolfPredictor):
    def reset(self, **settings):
        store = distributed_c10d._get_default_store()
        while hasattr(store, "underlying_store"):
            store = store.underlying_store
        if not getattr(self, "has_left_memo", False):
            assert not store.check([f"memo of {self._ctx.rank}"]), "an earlier session's memo is still there"
            store.set(f"memo of {self._ctx.rank}", "text")
            self.has_left_memo = True
        super().reset(**settings)
