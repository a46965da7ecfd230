"""Which nodes of each grammar define something, and which only contain such nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["class", "function", "record", "constant", "field", "impl"]


@dataclass(frozen=True, slots=True)
class Kinds:
    """The nodes of one grammar.

    A ``class`` or ``impl`` has members, which are definitions themselves; a ``record`` is shown as a whole, as far as
    it is short. ``holders`` are passed through; a node of ``lists`` represents each of its named children.
    """

    nodes: dict[str, Kind]
    holders: frozenset[str]


def _kinds(holders: str, **nodes: str) -> Kinds:
    of_node: dict[str, Kind] = {}
    for kind, names in nodes.items():
        for name in names.split():
            of_node[name] = kind.rstrip("_")  # type: ignore[assignment]
    return Kinds(of_node, frozenset(holders.split()))


_SCRIPT = _kinds(
    "program export_statement ambient_declaration internal_module module statement_block expression_statement"
    " class_body lexical_declaration variable_declaration interface_body",
    class_="class_declaration abstract_class_declaration class",
    function="function_declaration generator_function_declaration function_signature method_definition method_signature"
    " abstract_method_signature",
    record="interface_declaration type_alias_declaration enum_declaration",
    field="public_field_definition field_definition property_signature pair",
    constant="variable_declarator assignment_expression",
)
_C = _kinds(
    "translation_unit declaration_list namespace_definition template_declaration linkage_specification preproc_ifdef"
    " preproc_if preproc_else preproc_elif field_declaration_list",
    class_="class_specifier",
    record="struct_specifier union_specifier enum_specifier type_definition alias_declaration",
    function="function_definition declaration preproc_function_def",
    field="field_declaration",
    constant="preproc_def",
)

SCRIPTS = frozenset({"javascript", "javascriptreact", "typescript", "typescriptreact"})

KINDS = {
    "python": _kinds(
        "module block decorated_definition if_statement else_clause try_statement except_clause expression_statement",
        class_="class_definition",
        function="function_definition",
        constant="assignment type_alias_statement",
    ),
    "javascript": _SCRIPT,
    "javascriptreact": _SCRIPT,
    "typescript": _SCRIPT,
    "typescriptreact": _SCRIPT,
    "java": _kinds(
        "program class_body interface_body enum_body enum_body_declarations annotation_type_body",
        class_="class_declaration interface_declaration enum_declaration record_declaration"
        " annotation_type_declaration",
        function="method_declaration constructor_declaration compact_constructor_declaration",
        field="field_declaration constant_declaration enum_constant",
    ),
    "go": _kinds(
        "source_file type_declaration const_declaration var_declaration var_spec_list",
        function="function_declaration method_declaration",
        record="type_spec type_alias",
        constant="const_spec var_spec",
    ),
    "rust": _kinds(
        "source_file declaration_list mod_item",
        class_="trait_item",
        impl="impl_item",
        record="struct_item enum_item union_item type_item",
        function="function_item function_signature_item macro_definition",
        constant="const_item static_item",
    ),
    "c": _C,
    "cpp": _C,
    "csharp": _kinds(
        "compilation_unit namespace_declaration file_scoped_namespace_declaration declaration_list"
        " enum_member_declaration_list",
        class_="class_declaration struct_declaration interface_declaration record_declaration enum_declaration",
        function="method_declaration constructor_declaration delegate_declaration",
        field="property_declaration field_declaration event_field_declaration enum_member_declaration",
    ),
    "ruby": _kinds(
        "program body_statement module", class_="class", function="method singleton_method", constant="assignment"
    ),
    "php": _kinds(
        "program namespace_definition compound_statement declaration_list enum_declaration_list",
        class_="class_declaration interface_declaration trait_declaration enum_declaration",
        function="function_definition method_declaration",
        field="property_declaration const_declaration enum_case",
    ),
    "kotlin": _kinds(
        "source_file class_body enum_class_body companion_object",
        class_="class_declaration object_declaration",
        function="function_declaration",
        field="property_declaration enum_entry",
    ),
}

# Languages that see each other's definitions.
FAMILIES = {
    "javascriptreact": "javascript", "typescript": "javascript", "typescriptreact": "javascript",
    "cpp": "c", "kotlin": "java",
}  # fmt: skip


def family(language: str) -> str:
    """Return the name shared by languages that use each other's files."""
    return FAMILIES.get(language, language)
