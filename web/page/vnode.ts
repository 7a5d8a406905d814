/**
 * What the page should look like, as values: views make them, `patch.ts` makes the document so.
 *
 * Pure, so that every view is tested without a browser.
 *
 * @module
 */

/** A handler of an event; what of the event it reads it declares. */
// deno-lint-ignore no-explicit-any -- each listener names the type of its own event
export type Handler = (event: any) => void;

/** An element. */
export interface VNode {
  readonly tag: string;
  /** Tells it from its siblings, so that it keeps its focus and its state among them. */
  readonly key: string | undefined;
  /** `false` and `undefined` leave an attribute out, `true` gives it without a value. */
  readonly attributes: Readonly<Record<string, string | number | boolean | undefined>>;
  /** By the name of the event. */
  readonly on: Readonly<Record<string, Handler>>;
  readonly children: readonly Child[];
}

/** An element, or text. */
export type Child = VNode | string;
/** What may stand for children: nothing at all, lists in lists. */
export type Children = Child | number | null | undefined | false | readonly Children[];

type Props = Readonly<Record<string, string | number | boolean | undefined | null | Handler>>;

/** An element; properties that begin with `on` are handlers: `onclick`. `key` is its key. */
export function h(tag: string, props: Props | null = null, ...children: Children[]): VNode {
  const attributes: Record<string, string | number | boolean | undefined> = {};
  const on: Record<string, Handler> = {};
  let key: string | undefined;
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name === "key") key = String(value);
    else if (typeof value === "function") on[name.slice(2)] = value;
    else if (value !== null) attributes[name] = value;
  }
  return { tag, key, attributes, on, children: flat(children) };
}

function flat(children: readonly Children[]): Child[] {
  return children.flatMap((child): Child[] => {
    if (child === null || child === undefined || child === false) return [];
    if (typeof child === "number") return [String(child)];
    return Array.isArray(child) ? flat(child) : [child as Child];
  });
}

/** All text in it. */
export function textOf(child: Child): string {
  return typeof child === "string" ? child : child.children.map(textOf).join("");
}

/** The elements in it, itself included, that fit. */
export function findAll(child: Child, fits: (node: VNode) => boolean): VNode[] {
  if (typeof child === "string") return [];
  return [...fits(child) ? [child] : [], ...child.children.flatMap((each) => findAll(each, fits))];
}
