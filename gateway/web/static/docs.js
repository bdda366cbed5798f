// The API's documentation: renders /openapi.json.
const element = (tag, text, ...children) => {
  const made = document.createElement(tag);
  made.textContent = text;
  made.append(...children);
  return made;
};

function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return `list of ${kind(schema.items) || "values"}`;
  return schema.format || schema.type || "any";
}

function rows(heads, cells) {
  const table = element("table", "", element("tr", "", ...heads.map((h) => element("th", h))));
  table.append(...cells.map((row) => element("tr", "", ...row.map((c) => element("td", c)))));
  return table;
}

function operation(method, path, described) {
  const section = element("section", "", element("h2", `${method.toUpperCase()} ${path}`),
    element("p", described.description || described.summary || ""));
  const parameters = described.parameters || [];
  if (parameters.length)
    section.append(element("h3", "Parameters"), rows(["Name", "Where", "Type", "What"], parameters.map((p) =>
      [p.name + (p.required ? " (required)" : ""), p.in, kind(p.schema), p.description || ""])));
  section.append(element("h3", "Answers"), rows(["Status", "Type", "What"],
    Object.entries(described.responses).map(([status, answer]) => {
      const [type, content] = Object.entries(answer.content || {})[0] || ["", {}];
      return [status, [kind(content.schema), type].filter(Boolean).join(", "), answer.description || ""];
    })));
  return section;
}

function shape(name, schema) {
  const required = schema.required || [];
  return element("section", "", element("h2", name), element("p", schema.description || ""),
    rows(["Field", "Type", "What"], Object.entries(schema.properties || {}).map(([field, of]) =>
      [field + (required.includes(field) ? "" : " (optional)"), kind(of), of.description || ""])));
}

const found = await (await fetch("/openapi.json")).json();
document.getElementById("about").textContent = found.info.description;
const operations = Object.entries(found.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, described]) => operation(method, path, described)));
const shapes = Object.entries(found.components.schemas).map(([name, schema]) => shape(name, schema));
document.getElementById("operations").append(...operations, ...shapes);
