"""What a Gemma 3 GGUF file gives, in numpy: the reference of `bgz_models::gemma`, and the maker of its fixtures.

    pip install -r models/gemma-requirements.txt
    models/fetch.sh gemma
    python3 models/gemma_reference.py fixtures            # tests/fixtures/gemma*, of the file and of a tiny model
    python3 models/gemma_reference.py perplexity --text FILE
    python3 models/gemma_reference.py llama --text FILE   # llama.cpp on the same: logits, perplexity, tokens a second
    python3 models/gemma_reference.py f32 gemma.f32.gguf  # then llama --model gemma.f32.gguf: without quantisation

llama.cpp rounds what its products of quantised weights are given to 8 bits, so it agrees with the reference closely
only on a file of f32.

Nothing here shares code with the Rust module. Weights are dequantised by the `gguf` package and all else is computed
in float64, so that what differs is rounding of the other side. The order of steps is that of llama.cpp's `gemma3`
graph: RMSNorm weights are stored with their 1 added, scores are scaled by 1 / sqrt(d_head).
"""

import argparse
import sys
import time
from pathlib import Path

import gguf
import numpy as np

MODELS = Path(__file__).resolve().parent
FIXTURES = MODELS.parent / "tests" / "fixtures"
REAL = MODELS / "fetched" / "gemma.gguf"

PROMPT = "The library of Alexandria was one of the largest and most significant libraries of the"
# Every so many logits are kept, of 262144.
STRIDE = 131
TOP = 64

# Texts that tokenizers get wrong: case, runs of spaces, line feeds, other scripts, bytes without a token, special tokens.
TEXTS = [
    "Hello, world!",
    " leading and trailing ",
    "two  spaces,   three,    four",
    "a\nb\n\nc\t\td\r\n",
    "fn main() { println!(\"{}\", 1 + 2); }",
    "Größe, façade, naïve, 東京都, Москва, 안녕하세요",
    "emoji \U0001F600 and \U0001F468\u200d\U0001F469\u200d\U0001F467, ligature \ufb01",
    "unassigned \U000e01ef and \U0010fffd",
    "3.14159 1000000 0x7fff",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "the▁meta symbol",
    "<start_of_turn>user\nHi<end_of_turn>\n",
    "",
]


class Gemma:
    """A Gemma 3 model of a GGUF file."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.tensors = {tensor.name: tensor for tensor in self.reader.tensors}
        if self.value("general.architecture") != "gemma3":
            sys.exit(f"error: {path} is no gemma3 model")
        self.layers = self.number("block_count")
        self.d_model = self.number("embedding_length")
        self.heads = self.number("attention.head_count")
        self.kv_heads = self.number("attention.head_count_kv")
        self.d_head = self.number("attention.key_length")
        self.eps = self.number("attention.layer_norm_rms_epsilon")
        self.window = self.number("attention.sliding_window")
        self.pattern = self.number("attention.sliding_window_pattern", 6)
        self.base = self.number("rope.freq_base")
        self.local_base = self.number("rope.freq_base_swa", 10000.0)
        self.embedding = self.weight("token_embd.weight", np.float32)

    def value(self, key):
        field = self.reader.fields.get(key)
        return None if field is None else field.contents()

    def number(self, key, default=None):
        value = self.value(f"gemma3.{key}")
        if value is None and default is None:
            sys.exit(f"error: the file has no gemma3.{key}")
        return default if value is None else value

    def weight(self, name, dtype=np.float64):
        tensor = self.tensors[name]
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(dtype)

    def is_global(self, layer):
        return (layer + 1) % self.pattern == 0

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.weight(name)

    def rotate(self, x, base):
        """`x` is [seq, heads, d_head]; dims i and i + d_head / 2 are a pair."""
        half = self.d_head // 2
        angles = np.outer(np.arange(x.shape[0]), base ** (-np.arange(half) / half))
        cos, sin = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, x, layer):
        name = f"blk.{layer}."
        seq = x.shape[0]
        split = lambda y, heads: y.reshape(seq, heads, self.d_head)
        q = split(x @ self.weight(name + "attn_q.weight").T, self.heads)
        k = split(x @ self.weight(name + "attn_k.weight").T, self.kv_heads)
        v = split(x @ self.weight(name + "attn_v.weight").T, self.kv_heads)
        base = self.base if self.is_global(layer) else self.local_base
        q = self.rotate(self.norm(q, name + "attn_q_norm.weight"), base)
        k = self.rotate(self.norm(k, name + "attn_k_norm.weight"), base)
        distance = np.arange(seq)[:, None] - np.arange(seq)[None, :]
        hidden = distance < 0
        if not self.is_global(layer):
            hidden |= distance >= self.window
        out = np.empty_like(q)
        for head in range(self.heads):
            shared = head // (self.heads // self.kv_heads)
            scores = q[:, head] @ k[:, shared].T / np.sqrt(self.d_head)
            scores[hidden] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, head] = weights / weights.sum(-1, keepdims=True) @ v[:, shared]
        return out.reshape(seq, -1) @ self.weight(name + "attn_output.weight").T

    def feed_forward(self, x, layer):
        name = f"blk.{layer}."
        gate = x @ self.weight(name + "ffn_gate.weight").T
        gelu = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        return (gelu * (x @ self.weight(name + "ffn_up.weight").T)) @ self.weight(name + "ffn_down.weight").T

    def hidden(self, ids):
        """What the output head is given: float64[seq, d_model]."""
        x = self.embedding[ids].astype(np.float64) * np.sqrt(self.d_model)
        for layer in range(self.layers):
            name = f"blk.{layer}."
            y = self.attention(self.norm(x, name + "attn_norm.weight"), layer)
            x = x + self.norm(y, name + "post_attention_norm.weight")
            y = self.feed_forward(self.norm(x, name + "ffn_norm.weight"), layer)
            x = x + self.norm(y, name + "post_ffw_norm.weight")
        return self.norm(x, "output_norm.weight")

    def logits(self, hidden):
        """float64[rows, vocab], a slice of the vocabulary at a time."""
        parts = np.array_split(self.embedding, max(1, self.embedding.shape[0] // 16384))
        return np.concatenate([hidden @ part.T.astype(np.float64) for part in parts], -1)


def log_sum_exp(x):
    top = x.max(-1, keepdims=True)
    return (top + np.log(np.exp(x - top).sum(-1, keepdims=True)))[..., 0]


class Llama:
    """llama.cpp: the library in the package xllamacpp, or another of the same version."""

    library = None

    def __init__(self, path, context=0, vocab_only=False):
        from llama_cpp_py_sync._cffi_bindings import get_ffi
        from xllamacpp import xllamacpp

        self.ffi = get_ffi()
        self.lib = self.ffi.dlopen(str(self.library or xllamacpp.__file__))
        self.quiet = self.ffi.callback("void(enum ggml_log_level, const char *, void *)", lambda *_: None)
        self.lib.llama_log_set(self.quiet, self.ffi.NULL)
        self.lib.llama_backend_init()
        params = self.lib.llama_model_default_params()
        params.vocab_only = vocab_only
        self.model = self.lib.llama_model_load_from_file(str(path).encode(), params)
        if self.model == self.ffi.NULL:
            sys.exit(f"error: llama.cpp does not load {path}")
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.n_vocab = self.lib.llama_vocab_n_tokens(self.vocab)
        if context:
            params = self.lib.llama_context_default_params()
            params.n_ctx = params.n_batch = params.n_ubatch = context
            params.n_outputs_max = context
            params.n_threads = params.n_threads_batch = 2
            # Keys and values in f32, scores and softmax as separate steps.
            params.type_k = params.type_v = 0
            params.flash_attn_type = 0
            self.context = self.lib.llama_init_from_model(self.model, params)

    def tokens(self, text, special=False):
        """Without the token of the beginning; `special` reads the names of special tokens as such."""
        data = text.encode()
        room = self.ffi.new("llama_token[]", len(data) + 16)
        count = self.lib.llama_tokenize(self.vocab, data, len(data), room, len(data) + 16, False, special)
        return [room[i] for i in range(count)]

    def clear(self):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)

    def decode(self, ids, start, every):
        """Logits behind the last id, or behind every one: float32[rows, vocab]."""
        batch = self.lib.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = int(token), start + i, 1, 0
            batch.logits[i] = every or i + 1 == len(ids)
        if self.lib.llama_decode(self.context, batch) != 0:
            sys.exit("error: llama.cpp does not decode")
        rows = range(len(ids)) if every else [len(ids) - 1]
        row = lambda i: self.ffi.buffer(self.lib.llama_get_logits_ith(self.context, i), 4 * self.n_vocab)
        out = np.stack([np.frombuffer(row(i), np.float32).copy() for i in rows])
        self.lib.llama_batch_free(batch)
        return out


def windows(ids, bos, context, count):
    """Windows of `context` tokens, each led by the token of the beginning; `count` tokens are predicted in all."""
    for start in range(0, count, context - 1):
        yield np.array([bos, *ids[start : min(start + context - 1, count)]])


def perplexity(windows, logits):
    """Of every token but the first of each window."""
    total = count = 0
    for window in windows:
        rows = logits(window).astype(np.float64)[:-1]
        chosen = rows[np.arange(len(rows)), window[1:]]
        total += (log_sum_exp(rows) - chosen).sum()
        count += len(chosen)
        print(f"{count} tokens: {np.exp(total / count):.6f}", file=sys.stderr, flush=True)
    return np.exp(total / count), count


# A tiny model: weights that are random but not small, so that every part of it counts.

TINY_PIECES = "e t a o n i s r h l d u c m p f g y w b . , \n ▁ "
TINY_PIECES += "en er he th in on an re nd at ▁t ▁a ▁th ▁the and ing"


def tiny(path):
    """2 layers, of which the second is global, d_model 32, 4 heads of 16 that share 2, a window of 5."""
    rng = np.random.default_rng(7)
    pieces = TINY_PIECES.split(" ")
    vocab = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>"]
    types = [3, 3, 3, 2, 4, 3]
    vocab += [f"<0x{byte:02X}>" for byte in range(256)] + pieces
    # The line feed, and runs of spaces, are tokens that are not merged.
    vocab += ["  ", "   "]
    types += [6] * 256 + [4 if piece == "\n" else 1 for piece in pieces] + [4, 4]
    # Pairs are listed behind letters: what comes first merges first.
    scores = [0.0] * 262 + [-float(i) for i in range(len(pieces))] + [-1000.0] * 2
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(16)
    writer.add_value_length(16)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(5)
    writer.add_uint32("gemma3.attention.sliding_window_pattern", 2)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocab)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    matrix = lambda rows, columns, scale: (rng.standard_normal((rows, columns)) * scale).astype(np.float32)
    gain = lambda size: rng.uniform(0.5, 1.5, size).astype(np.float32)
    writer.add_tensor("token_embd.weight", matrix(len(vocab), 32, 0.3))
    writer.add_tensor("output_norm.weight", gain(32))
    for layer in range(2):
        name = f"blk.{layer}."
        for norm in ["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"]:
            writer.add_tensor(f"{name}{norm}.weight", gain(32))
        for norm in ["attn_q_norm", "attn_k_norm"]:
            writer.add_tensor(f"{name}{norm}.weight", 1.5 * gain(16))
        for weight, rows, columns in [
            ("attn_q", 64, 32),
            ("attn_k", 32, 32),
            ("attn_v", 32, 32),
            ("attn_output", 32, 64),
            ("ffn_gate", 48, 32),
            ("ffn_up", 48, 32),
            ("ffn_down", 32, 48),
        ]:
            writer.add_tensor(f"{name}{weight}.weight", matrix(rows, columns, columns**-0.5))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def save(path, **arrays):
    np.savez_compressed(path, **arrays)
    print(f"wrote {path} ({path.stat().st_size} bytes)", flush=True)


def tokens(path, texts):
    """Ids of texts as llama.cpp makes them, one after another, and how many each has."""
    llama = Llama(path, vocab_only=True)
    ids = [llama.tokens(text, special=True) for text in texts]
    joined = np.frombuffer("\0".join(texts).encode(), np.uint8)
    return {"texts": joined, "tokens": np.array(sum(ids, []), np.int64), "counts": np.array([len(i) for i in ids])}


def fixtures(args):
    path = FIXTURES / "gemma_tiny.gguf"
    tiny(path)
    model = Gemma(path)
    ids = np.random.default_rng(8).integers(0, len(model.embedding), 24)
    hidden = model.hidden(ids)
    texts = ["then the rest and others", "  x\u00e9\n\n    a", "eeee", "<start_of_turn>he<eos>", "\U0001F600the▁a", ""]
    save(
        FIXTURES / "gemma_tiny.expected.npz",
        ids=ids.astype(np.int64),
        logits=model.logits(hidden).astype(np.float32),
        hidden=hidden.astype(np.float32),
        **tokens(path, texts),
    )
    if not REAL.is_file():
        sys.exit(f"error: {REAL} is not here; models/fetch.sh gemma gets it")
    model = Gemma(REAL)
    llama = Llama(REAL, vocab_only=True)
    ids = np.array([model.value("tokenizer.ggml.bos_token_id"), *llama.tokens(PROMPT)])
    hidden = model.hidden(ids)[-1:]
    logits = model.logits(hidden)[0]
    top = np.argsort(-logits)[:TOP]
    save(
        FIXTURES / "gemma.expected.npz",
        ids=ids.astype(np.int64),
        hidden=hidden[0].astype(np.float32),
        top_ids=top.astype(np.int64),
        top_logits=logits[top].astype(np.float32),
        stride=np.array([STRIDE], np.int64),
        sampled_logits=logits[::STRIDE].astype(np.float32),
        **tokens(REAL, TEXTS),
    )


def f32(args):
    """Copies the file with its tensors dequantised."""
    reader = gguf.GGUFReader(args.model)
    writer = gguf.GGUFWriter(args.output, "gemma3")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        nested = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=nested)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def perplexity_command(args):
    model = Gemma(args.model)
    ids = Llama(args.model, vocab_only=True).tokens(Path(args.text).read_text(encoding="utf-8"))
    bos = model.value("tokenizer.ggml.bos_token_id")
    value, count = perplexity(windows(ids, bos, args.context, args.tokens), lambda w: model.logits(model.hidden(w)))
    print(f"perplexity {value:.6f} over {count} tokens, context {args.context}")


def llama_command(args):
    Llama.library = args.library
    llama = Llama(args.model, max(args.context, args.prompt + args.decode))
    print(llama.ffi.string(llama.lib.llama_print_system_info()).decode())
    bos = llama.lib.llama_vocab_bos(llama.vocab)
    expected = np.load(FIXTURES / "gemma.expected.npz")
    got = llama.decode(expected["ids"], 0, False)[0]
    top, sampled = got[expected["top_ids"]] - expected["top_logits"], got[::STRIDE] - expected["sampled_logits"]
    print(f"logits: off by at most {abs(top).max():.4f} of the {TOP} greatest, {abs(sampled).max():.4f} of a sample")
    print(f"likeliest token: {got.argmax()}, numpy says {expected['top_ids'][0]}")
    ids = llama.tokens(Path(args.text).read_text(encoding="utf-8"))

    def logits(window):
        llama.clear()
        return llama.decode(window, 0, True)

    value, count = perplexity(windows(ids, bos, args.context, args.tokens), logits)
    print(f"perplexity {value:.6f} over {count} tokens, context {args.context}")
    speeds = [[], []]
    for _ in range(args.rounds):
        llama.clear()
        start = time.perf_counter()
        llama.decode([bos, *ids[: args.prompt - 1]], 0, False)
        prompt = time.perf_counter()
        for i in range(args.decode):
            llama.decode([ids[i]], args.prompt + i, False)
        end = time.perf_counter()
        speeds[0].append(args.prompt / (prompt - start))
        speeds[1].append(args.decode / (end - prompt))
    if args.rounds:
        prompt, decode = (np.median(s) for s in speeds)
        print(f"tokens/s: {prompt:.1f} of a prompt of {args.prompt}, {decode:.1f} of {args.decode} behind it")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("fixtures").set_defaults(run=fixtures)
    command = commands.add_parser("f32", help="writes the file with its tensors dequantised, as llama.cpp reads them")
    command.set_defaults(run=f32)
    command.add_argument("--model", type=Path, default=REAL)
    command.add_argument("output", type=Path)
    for name, run in [("perplexity", perplexity_command), ("llama", llama_command)]:
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--model", type=Path, default=REAL)
        command.add_argument("--text", type=Path, required=True)
        command.add_argument("--tokens", type=int, default=4096, help="how many are predicted (default 4096)")
        command.add_argument("--context", type=int, default=512)
        if name == "llama":
            command.add_argument("--prompt", type=int, default=256)
            command.add_argument("--decode", type=int, default=64)
            command.add_argument("--rounds", type=int, default=3)
            command.add_argument("--library", type=Path, help="libllama of the same version (default: xllamacpp's)")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
