"""What stands between a picture with a question and a model's tokens: its processor, asked the way this model wants it.

Three ways there are: a chat template, where the model has one; the prompt as it is (task tokens of Florence-2, the
beginning of a caption); and models without a processor of their own, which take the picture alone. Which it is, is
tried out on a blank picture when the model is loaded, so that what can't work fails before the first image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from PIL.Image import Image

from curator.captioners.model import MachineFailed
from curator.captioners.vision.collate import TOKENS, Inputs
from schemas.errors import BadOption

BLANK_PX = 64
NEEDS_A_PROMPT = {"florence2": "<DETAILED_CAPTION>"}
"""Families without a chat template that can't go without one, with an example."""
TAKES_ITS_OWN_END_OFF = {"blip"}
NOT_FOR_THE_MODEL = {"labels"}


class Reader:
    """A processor and how to ask it. `inputs` may be called from several threads."""

    def __init__(self, name: str, processor: Any, config: Any, system: str, prompt: str) -> None:
        """`prompt` is one as it may come, to find out what works. Raises BadOption where the model needs a prompt,
        MachineFailed where its processor can't be used."""
        self.name, self.processor, self.config, self.system = name, processor, config, system
        self.tokenizer = processor.tokenizer
        self.image_token: str | None = _as_text(getattr(processor, "image_token", None))
        self.chats = bool(getattr(processor, "chat_template", None) or getattr(self.tokenizer, "chat_template", None))
        self._check_prompt(prompt)
        self._form = 0
        self._form = self._found_out(prompt)

    def inputs(self, image: Image, prompt: str) -> Inputs:
        """The model's arguments for one picture (RGB) and one prompt, as a batch of one."""
        return self._processed(image, self._texts(prompt)[self._form])

    def words(self, tokens: Sequence[int]) -> str:
        """The text of what was generated, without special tokens."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _check_prompt(self, prompt: str) -> None:
        tasks = getattr(self.processor, "tasks_answer_post_processing_type", {})  # Florence-2
        if tasks.get(prompt, "pure_text") != "pure_text":
            raise BadOption(f"-o prompt={prompt}: the answer to this task is boxes, not words.")
        if self.system and not self.chats:
            raise BadOption(f"-o system: {self.name} has no chat template to put it into.")
        if prompt:
            return
        if self.chats:
            raise BadOption(f"{self.name} answers questions: -o prompt='Describe this picture in one sentence.'")
        if example := NEEDS_A_PROMPT.get(self.config.model_type):
            raise BadOption(f"{self.name} wants to be told its task: -o prompt='{example}'")

    def _found_out(self, prompt: str) -> int:
        """The first form that the processor takes. Raises MachineFailed with what it says of the first."""
        from PIL import Image

        blank = Image.new("RGB", (BLANK_PX, BLANK_PX), "white")
        problem: Exception | None = None
        for form, text in enumerate(self._texts(prompt)):
            try:
                if self._has_the_picture(self._processed(blank, text)):
                    return form
            except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                problem = problem or error
        said = f": {problem}" if problem else "."
        raise MachineFailed(f"The processor of {self.name} can't take a picture with this prompt{said}")

    def _has_the_picture(self, inputs: Inputs) -> bool:
        """Whether the text has room for the picture, where the family puts pictures into the text; and isn't empty."""
        if TOKENS not in inputs:
            return True
        tokens = inputs[TOKENS][0].tolist()
        place = getattr(self.config, "image_token_id", None)
        return bool(tokens) and (place is None or self.image_token is None or place in tokens)

    def _texts(self, prompt: str) -> list[str | None]:
        """What to hand to the processor, likeliest first."""
        if self.chats:
            return [self._chat(prompt)]
        forms: list[str | None] = [prompt] if prompt else ["", None]
        if self.image_token and self.image_token not in prompt:
            forms.append(self.image_token + (f"\n{prompt}" if prompt else ""))
        return forms

    def _chat(self, prompt: str) -> str:
        """The conversation as text, up to where the model answers."""
        has_template = self.processor if getattr(self.processor, "chat_template", None) else self.tokenizer
        problem: Exception | None = None
        for messages in self._conversations(prompt):
            try:
                text = has_template.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            except Exception as error:  # templates raise what they like: jinja2's, TypeError, ValueError ...
                problem = error
                continue
            places = 1 if self.image_token is None else text.count(self.image_token)
            if prompt in text and "{'type'" not in text and places == 1:
                return str(text)
        said = f": {problem}" if problem else "; is the image's token in the prompt?"
        raise MachineFailed(f"The chat template of {self.name} can't take a picture and a prompt{said}")

    def _conversations(self, prompt: str) -> Iterator[list[dict[str, Any]]]:
        """Templates differ in what a message is: parts, a string, or a string that has the picture in it."""
        parts = [{"type": "image"}, {"type": "text", "text": prompt}]
        system = [{"role": "system", "content": [{"type": "text", "text": self.system}]}] if self.system else []
        yield [*system, {"role": "user", "content": parts}]
        system = [{"role": "system", "content": self.system}] if self.system else []
        yield [*system, {"role": "user", "content": prompt}]
        yield [*system, {"role": "user", "content": f"{self.image_token}\n{prompt}"}]

    def _processed(self, image: Image, text: str | None) -> Inputs:
        more: dict[str, Any] = {}
        if text is not None:
            more["text"] = [text]
            bos = self.tokenizer.bos_token
            if self.chats and bos and text.startswith(bos):
                more["add_special_tokens"] = False
        made = self.processor(images=[image], return_tensors="pt", **more)
        inputs = {name: value for name, value in made.items() if name not in NOT_FOR_THE_MODEL}
        return inputs if self.chats else self._open_ended(inputs)

    def _open_ended(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A prompt to go on from must not end with the token that ends a text."""
        family = self.config.model_type
        if TOKENS not in inputs or self.config.is_encoder_decoder or family in TAKES_ITS_OWN_END_OFF:
            return inputs
        tokens_1L = inputs[TOKENS]
        length = tokens_1L.shape[1]
        ends = {self.tokenizer.eos_token_id, self.tokenizer.sep_token_id} - {None, self.tokenizer.bos_token_id}
        if length < 2 or int(tokens_1L[0, -1]) not in ends:
            return inputs
        texts = {name: value[:, :-1] for name, value in inputs.items() if value.shape == (1, length)}
        return {**inputs, **texts}


class PictureAndTokenizer:
    """Stands in for the processor of a model that has none: an image processor and a tokenizer beside it.

    The prompt becomes the beginning of what the decoder writes.
    """

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        self.image_processor, self.tokenizer = image_processor, tokenizer

    def __call__(self, images: list[Image], text: list[str] | None = None, **more: Any) -> dict[str, Any]:
        inputs = dict(self.image_processor(images=images, return_tensors="pt"))
        if text and text[0]:
            begun = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)
            inputs["decoder_input_ids"] = begun[TOKENS]
        return inputs


def _as_text(token: Any) -> str | None:
    """A token as the processor keeps it: text, or an AddedToken."""
    return None if token is None else str(getattr(token, "content", token))
