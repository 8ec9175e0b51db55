"""A tokenizer with one token for every word of a corpus, and letters for all others."""

import re
import string
from collections.abc import Iterable
from typing import Any

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")
_WORD = re.compile(r"\([A-Z0-9]\)|[A-Za-z]+|[0-9]+")


def word_tokenizer(texts: Iterable[str]) -> Any:
    """A transformers tokenizer whose tokens are the words, numbers and list marks such as "(B)" of the texts, and single signs.

    Every word carries a blank before it, also the first of a text or line, so that it is one and the same token everywhere.
    Unknown words are spelled. A text begins with <s>.
    """
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in _WORD.findall(text)})
    signs = [*string.ascii_letters, *string.digits, *string.punctuation, "▁", "\n"]
    pieces = dict.fromkeys([*SPECIAL, *signs, *(f"▁{word}" for word in words)])
    # whole words win over letters because every piece costs the same
    tokenizer = Tokenizer(Unigram([(piece, 0.0 if piece in SPECIAL else -10.0) for piece in pieces], unk_id=0))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Replace(Regex(r"(?<=\n)(?=[^\s])"), " "),
        normalizers.Prepend(" "),
        normalizers.Replace(" ", "▁"),
    ])  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"▁?\([A-Z0-9]\)|▁?[A-Za-z]+|▁?[0-9]+|\n|[^A-Za-z0-9\n]"), "isolated"
    )
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.Fuse(), decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0),
    ])  # fmt: skip
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", SPECIAL.index("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
