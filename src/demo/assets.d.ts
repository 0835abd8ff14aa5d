// What the bundler makes of imports that are not scripts.

declare module '*.css' {}

declare module '*.wasm?url' {
  /** Where the file is served. */
  const url: string;
  export default url;
}

declare module '*.asm?raw' {
  const text: string;
  export default text;
}
