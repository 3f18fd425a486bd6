"""A small language model in place of BERT, so that models which read text can be tried without a download."""

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import ConfigDict

# Twice the least: GLIP takes the last layer's, Grounding DINO the mean of several.
NUM_LAYERS = 2


@cache
def bert_folder() -> str:
    """A folder with a BERT of random weights and a vocabulary of letters, as `transformers` reads it.

    Raises:
        ImportError: If `transformers` is not installed.
    """
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = Path(tempfile.mkdtemp(prefix='bert-'))
    letters = [chr(ord('a') + i) for i in range(26)]
    marks = [*"0123456789.,-_()/'?"]
    words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *letters, *marks, *(f'##{s}' for s in letters + marks)]
    (folder / 'vocab.txt').write_text('\n'.join(words))
    BertTokenizer(str(folder / 'vocab.txt')).save_pretrained(folder)
    # As wide as bert-base-uncased, which the models' own layers expect.
    config = BertConfig(
        vocab_size=len(words), num_hidden_layers=NUM_LAYERS, num_attention_heads=4, intermediate_size=64
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


def with_small_language_model(model: Any) -> Any:
    """A model's config whose language model is the stand-in; itself if there is none."""
    if isinstance(model, Mapping):
        found = {key: with_small_language_model(value) for key, value in model.items()}
        if isinstance(found.get('language_model'), Mapping):
            found['language_model']['name'] = bert_folder()
        if 'lang_model_name' in found:
            found['lang_model_name'] = bert_folder()
        return ConfigDict(found)
    if isinstance(model, (list, tuple)):
        return type(model)(map(with_small_language_model, model))
    return model
