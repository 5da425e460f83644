"""BLIP as a captioning machine: transformers' weights and function, another way through them, made for speed.

    whereabouts.py  which files, and their revision
    load.py         the weights, by the plain transformers class; what is wrong with a folder is named in one line
    network.py      the vision tower and the decoder, with fused attention and memory of fixed size
    rules.py        which words may come next; greedy, nucleus
    beams.py        beam search, as transformers does it
    lane.py         a batch's memory on the device, and the work on it
    recorded.py     work as CUDA graphs
    engine.py       pictures through lanes side by side
    machine.py      files in, captions out

Same function: tests/curator/machines/test_blip_engine.py holds it against `BlipForConditionalGeneration`.
"""
