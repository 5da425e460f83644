"""Words that people use to describe a drawing and that emoji names and keywords lack or hardly have."""

TEXT = """
a about above across along also an and another are around as at background be behind below beside between big both
bottom bright brown but by centre character circle close closed coloured colored colour color corner curved cute
dark detail details each edge edges eight ends facing facial few filled five four from front full gradient has have
having head height her hers his holding icon illustration image in inside into is it its large leaning left legs
light like line lines little long looking lower made many middle more most narrow near next no not of off on one
only open or orange other out outline outlined outlines over page pair pale part photo picture placed plain pointed
pointing pointy profile rectangle resting right round rounded row same scene seen seven shading shadow shape shaped
shapes short showing shown side sides simple single sitting six sketch slightly small smooth some square standing
straight stripe striped stripes style surface surrounded tail tall ten than that the their them then there these
they thick thin this three through tip tips to together top towards triangle turned turquoise two under up upper
upright upwards view viewed violet wearing which while whole wide with without openmoji emoji drawing render noto
fluent twemoji flat glossy gray grey beige cheeks ears paws whiskers wings feathers petals leaves stem branch trunk
roots fur hooves horns antlers beak snout nose eyes mouth slice
"""
GENERAL_WORDS = TEXT.split()
