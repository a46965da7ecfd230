import tseslint from 'typescript-eslint';

export default tseslint.config(...tseslint.configs.recommendedTypeChecked, {
  languageOptions: { parserOptions: { projectService: true } },
  rules: {
    '@typescript-eslint/unbound-method': 'off', // node:path's functions, taken from path.win32 or path.posix
    '@typescript-eslint/no-base-to-string': 'off', // our own items' insertText is always a string
  },
});
