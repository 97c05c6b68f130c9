export const about = (path) => `about ${path}`;
