/**
 * Makes the document be as views say, touching only what differs.
 *
 * An element stays the same while its tag and its key do, and with it its focus, its scrolling and
 * what was typed into it. A view that gives the very same value again costs nothing.
 *
 * @module
 */
/// <reference lib="dom" />
import type { Child, VNode } from "./vnode.ts";

const SVG = "http://www.w3.org/2000/svg";

/** What an element was made from. */
const made = new WeakMap<Element, VNode>();

/** Makes the children of an element these. */
export function patchChildren(parent: Element, children: readonly Child[]): void {
  const keyed = new Map<string, Element>();
  for (const node of Array.from(parent.children)) {
    const key = made.get(node)?.key;
    if (key !== undefined) keyed.set(key, node);
  }
  let at: ChildNode | null = parent.firstChild;
  for (const child of children) {
    if (typeof child === "string") {
      if (at?.nodeType === 3) {
        if (at.nodeValue !== child) at.nodeValue = child;
        at = at.nextSibling;
      } else parent.insertBefore(document.createTextNode(child), at);
      continue;
    }
    const there = child.key === undefined ? unkeyed(at, child) : keyed.get(child.key);
    const node = there && made.get(there)?.tag === child.tag ? there : create(child, parent);
    if (child.key !== undefined) keyed.delete(child.key); // another one with it is another element
    if (node === at) at = node.nextSibling;
    else parent.insertBefore(node, at);
    patch(node, child);
  }
  while (at !== null) {
    const next: ChildNode | null = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** The element that is there already for a child without a key. */
function unkeyed(at: ChildNode | null, child: VNode): Element | undefined {
  const was = at === null ? undefined : made.get(at as Element);
  return was !== undefined && was.key === undefined && was.tag === child.tag
    ? at as Element
    : undefined;
}

function create({ tag, key }: VNode, parent: Element): Element {
  const isSvg = tag === "svg" ||
    (parent.namespaceURI === SVG && parent.tagName !== "foreignObject");
  const node = isSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  made.set(node, { tag, key, attributes: {}, on: {}, children: [] });
  return node;
}

function patch(node: Element, next: VNode): void {
  const before = made.get(node)!;
  if (before === next) return;
  made.set(node, next);
  for (const name of Object.keys(before.attributes)) {
    if (!(name in next.attributes)) setAttribute(node, name, undefined);
  }
  for (const [name, value] of Object.entries(next.attributes)) {
    if (before.attributes[name] !== value) setAttribute(node, name, value);
  }
  // One listener for each kind of event, for good, which calls what the view said last.
  for (const name of Object.keys(next.on)) {
    if (!(name in before.on)) {
      node.removeEventListener(name, dispatch);
      node.addEventListener(name, dispatch);
    }
  }
  patchChildren(node, next.children);
  // After its options are there.
  if ("value" in next.attributes && node.tagName === "SELECT") {
    (node as HTMLSelectElement).value = String(next.attributes.value);
  }
}

function dispatch(event: Event): void {
  made.get(event.currentTarget as Element)?.on[event.type]?.(event);
}

function setAttribute(
  node: Element,
  name: string,
  value: string | number | boolean | undefined,
): void {
  // The property is what is there now; the attribute is what was there at first.
  if (name === "value" && (node.tagName === "INPUT" || node.tagName === "TEXTAREA")) {
    const input = node as HTMLInputElement;
    if (input.value !== String(value ?? "")) input.value = String(value ?? "");
  } else if (name === "checked") (node as HTMLInputElement).checked = value === true;
  else if (value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : String(value));
}
