// The fields of requests, read from the server's OpenAPI file, so new fields of the API get a control
// without a change here. A field is `{name, kind, nullable, standard, …}`; `standard` is its default
// and `kind` is number, text, choice, choices, flag, numbers, group, flagOrGroup or json (the rest).

let documentOnce = null;

export function openapi() {
  documentOnce ??= fetch(new URL("openapi.json", document.baseURI)).then((response) =>
    response.json(),
  );
  documentOnce.catch(() => (documentOnce = null));
  return documentOnce;
}

/** The fields of the schema `name`. */
export async function fieldsOf(name) {
  const { schemas } = (await openapi()).components;
  return properties(schemas[name], schemas);
}

/** The first example body of a POST to `path`, or null. */
export async function exampleOf(path) {
  const body = (await openapi()).paths[path]?.post?.requestBody?.content["application/json"];
  return Object.values(body?.examples ?? {})[0]?.value ?? null;
}

function properties(schema, schemas) {
  return Object.entries(schema.properties ?? {}).map(([name, entry]) =>
    field(name, entry, schemas),
  );
}

function field(name, entry, schemas) {
  const options = variants(entry, schemas);
  const found = options.filter((option) => option.type !== "null");
  const common = { name, nullable: found.length < options.length, standard: entry.default };
  const [first, ...rest] = found;
  if (!rest.length) return { ...common, ...simple(first, schemas) };
  const numbers = found.find(
    (option) => option.type === "array" && option.items?.type === "integer",
  );
  if (numbers) return { ...common, kind: "numbers", ...simple(numbers, schemas) };
  const group = found.find((option) => option.type === "object");
  if (group && found.length === 2 && found.some((option) => option.type === "boolean"))
    return { ...common, kind: "flagOrGroup", fields: properties(group, schemas) };
  return { ...common, kind: "json" };
}

/** The alternatives of a schema, with references resolved. */
function variants(entry, schemas) {
  if (entry.$ref) return variants({ ...schemas[entry.$ref.split("/").at(-1)] }, schemas);
  const options = entry.anyOf ?? entry.oneOf ?? (entry.allOf?.length === 1 ? entry.allOf : null);
  return options ? options.flatMap((option) => variants(option, schemas)) : [entry];
}

function simple(schema, schemas) {
  if (schema.enum || schema.const !== undefined)
    return { kind: "choice", options: schema.enum ?? [schema.const] };
  if (schema.type === "boolean") return { kind: "flag" };
  if (schema.type === "integer" || schema.type === "number")
    return {
      kind: "number",
      integer: schema.type === "integer",
      minimum: schema.minimum ?? schema.exclusiveMinimum,
      maximum: schema.maximum,
    };
  if (schema.type === "string") return { kind: "text", maxLength: schema.maxLength };
  if (schema.type === "object" && schema.properties)
    return { kind: "group", fields: properties(schema, schemas) };
  if (schema.type === "array") {
    const [item] = schema.items ? variants(schema.items, schemas) : [];
    if (item?.type === "integer") return { kind: "numbers" };
    if (item?.enum) return { kind: "choices", options: item.enum };
  }
  return { kind: "json" };
}
