"""`--where`: one expression over an image's listed columns, parsed and checked here.

    width_px >= 512 and (license is null or license like 'CC%') and not annotation in ('fox', "dog face")

The text becomes a tree, and the tree a Polars expression over a table from the catalog: no user input reaches the
database. Grammar, loosest first (keywords in any case):

    expression  = conjunction {"or" conjunction}
    conjunction = negation {"and" negation}
    negation    = "not" negation | "(" expression ")" | predicate
    predicate   = column                                                 (a yes/no column such as has_alpha)
                | column ("=" | "!=" | "<" | "<=" | ">" | ">=") (literal | column)
                | column ["not"] "in" "(" literal {"," literal} ")"
                | column ["not"] ("like" | "ilike" | "contains") text
                | column "is" ["not"] "null"
    literal     = text | number | "true" | "false"
    column      = name | "`" any characters "`"

Text is in single or double quotes; a quote inside is doubled. In `like` (`ilike` ignores case) `%` matches any text and
`_` one character; a backslash escapes them. `contains` finds a part of a text, or an entry of a list.

Every predicate is true or false, never unknown: a missing value satisfies only `is null`, and `!=` and `not` are exact
opposites of what they negate, so they hold for a missing value.
"""

from curator.where.evaluate import matches
from curator.where.images import images_where, listed_columns, of_images
from curator.where.parse import Where, parse
from curator.where.tokens import BadExpression

__all__ = ["BadExpression", "Where", "images_where", "listed_columns", "matches", "of_images", "parse"]
