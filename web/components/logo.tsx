export function Logo() {
  return (
    <svg className="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="9" className="logo-ground" />
      <path d="M9 10.5h14a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2h-7l-4.5 3.6v-3.6H9a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2Z" fill="#fff" />
      <g className="logo-ground"><circle cx="12.2" cy="16" r="1.5" /><circle cx="16" cy="16" r="1.5" /><circle cx="19.8" cy="16" r="1.5" /></g>
    </svg>
  );
}
