"""Build a model's inputs from an image and a prompt, by the model's processor.

A prompt has three forms: through the chat template if the model has one; as it is (a task token of Florence-2, the
start of a caption); none, for models that take the image alone. When the model is loaded, the forms are tested on a
blank image, so that a mismatch fails before the first image.
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
"""Families without a chat template that need a prompt, with an example."""
TAKES_ITS_OWN_END_OFF = {"blip"}
NOT_FOR_THE_MODEL = {"labels"}


class PromptedProcessor:
    """A processor and its form of prompt. `inputs` may be called from several threads."""

    def __init__(self, name: str, processor: Any, config: Any, system: str, prompt: str) -> None:
        """`prompt`: an example, to find the form that works. Raises BadOption if the model needs another prompt,
        MachineFailed if no form works."""
        self.name, self.processor, self.config, self.system = name, processor, config, system
        self.tokenizer = processor.tokenizer
        self.image_token: str | None = _as_text(getattr(processor, "image_token", None))
        self.chats = bool(getattr(processor, "chat_template", None) or getattr(self.tokenizer, "chat_template", None))
        self._check_prompt(prompt)
        self._form = self._working_form(prompt)

    def inputs(self, image: Image, prompt: str) -> Inputs:
        return self._process(image, self._texts(prompt)[self._form])

    def decode(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _check_prompt(self, prompt: str) -> None:
        tasks = getattr(self.processor, "tasks_answer_post_processing_type", {})  # Florence-2
        if tasks.get(prompt, "pure_text") != "pure_text":
            raise BadOption(f"-o prompt={prompt}: this task answers with boxes, not words. Use another task.")
        if self.system and not self.chats:
            raise BadOption(f"-o system: {self.name} has no chat template for it. Leave it out.")
        if prompt:
            return
        if self.chats:
            raise BadOption(f"{self.name} needs a prompt: -o prompt='Describe this picture in one sentence.'")
        if example := NEEDS_A_PROMPT.get(self.config.model_type):
            raise BadOption(f"{self.name} needs a task as its prompt: -o prompt='{example}'")

    def _working_form(self, prompt: str) -> int:
        """Return the first form that the processor accepts. Raises MachineFailed with the first error."""
        from PIL import Image

        blank = Image.new("RGB", (BLANK_PX, BLANK_PX), "white")
        problem: Exception | None = None
        for form, text in enumerate(self._texts(prompt)):
            try:
                if self._has_image_token(self._process(blank, text)):
                    return form
            except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                problem = problem or error
        reason = f": {problem}" if problem else "."
        raise MachineFailed(f"The processor of {self.name} can't take an image with this prompt{reason}")

    def _has_image_token(self, inputs: Inputs) -> bool:
        if TOKENS not in inputs:
            return True
        tokens = inputs[TOKENS][0].tolist()
        image_token = getattr(self.config, "image_token_id", None)
        return bool(tokens) and (image_token is None or self.image_token is None or image_token in tokens)

    def _texts(self, prompt: str) -> list[str | None]:
        if self.chats:
            return [self._chat(prompt)]
        forms: list[str | None] = [prompt] if prompt else ["", None]
        if self.image_token and self.image_token not in prompt:
            forms.append(self.image_token + (f"\n{prompt}" if prompt else ""))
        return forms

    def _chat(self, prompt: str) -> str:
        template = self.processor if getattr(self.processor, "chat_template", None) else self.tokenizer
        problem: Exception | None = None
        for messages in self._conversations(prompt):
            try:
                text = template.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            except Exception as error:  # templates raise anything: jinja2's errors, TypeError, ValueError
                problem = error
                continue
            image_tokens = 1 if self.image_token is None else text.count(self.image_token)
            if prompt in text and "{'type'" not in text and image_tokens == 1:
                return str(text)
        reason = f": {problem}" if problem else "; does the prompt contain the image token?"
        raise MachineFailed(f"The chat template of {self.name} can't take an image and a prompt{reason}")

    def _conversations(self, prompt: str) -> Iterator[list[dict[str, Any]]]:
        """Yield the message formats of chat templates: parts, a string, a string with the image token."""
        parts = [{"type": "image"}, {"type": "text", "text": prompt}]
        system = [{"role": "system", "content": [{"type": "text", "text": self.system}]}] if self.system else []
        yield [*system, {"role": "user", "content": parts}]
        system = [{"role": "system", "content": self.system}] if self.system else []
        yield [*system, {"role": "user", "content": prompt}]
        yield [*system, {"role": "user", "content": f"{self.image_token}\n{prompt}"}]

    def _process(self, image: Image, text: str | None) -> Inputs:
        arguments: dict[str, Any] = {}
        if text is not None:
            arguments["text"] = [text]
            bos = self.tokenizer.bos_token
            if self.chats and bos and text.startswith(bos):
                arguments["add_special_tokens"] = False
        processed = self.processor(images=[image], return_tensors="pt", **arguments)
        inputs = {name: value for name, value in processed.items() if name not in NOT_FOR_THE_MODEL}
        return inputs if self.chats else self._without_end_token(inputs)

    def _without_end_token(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Remove the end token of a prompt, so that the model continues it."""
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


class ImageAndTokenizer:
    """Image processor and tokenizer for a model without a processor. The prompt becomes the start of the caption."""

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        self.image_processor, self.tokenizer = image_processor, tokenizer

    def __call__(self, images: list[Image], text: list[str] | None = None, **more: Any) -> dict[str, Any]:
        inputs = dict(self.image_processor(images=images, return_tensors="pt"))
        if text and text[0]:
            start = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)
            inputs["decoder_input_ids"] = start[TOKENS]
        return inputs


def _as_text(token: Any) -> str | None:
    return None if token is None else str(getattr(token, "content", token))
