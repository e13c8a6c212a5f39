/** The modules of ComfyUI's frontend, which only exist on its server. */

declare module "*/scripts/api.js" {
  export const api: any;
}

declare module "*/scripts/app.js" {
  export const app: any;
}
