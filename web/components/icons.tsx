import type { ReactNode } from "react";

function Icon({ children }: { children: ReactNode }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.8"
      strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      {children}
    </svg>
  );
}

export const Plus = () => <Icon><path d="M12 5v14M5 12h14" /></Icon>;
export const Send = () => <Icon><path d="M12 19V5M5.5 11.5 12 5l6.5 6.5" /></Icon>;
export const Stop = () => <Icon><rect x="7" y="7" width="10" height="10" rx="1.5" fill="currentColor" /></Icon>;
export const Menu = () => <Icon><path d="M4 7h16M4 12h16M4 17h10" /></Icon>;
export const Close = () => <Icon><path d="M6 6l12 12M18 6 6 18" /></Icon>;
export const Bin = () => <Icon><path d="M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.5 11v4.500M13.5 11v4.5" /></Icon>;
export const Leave = () => <Icon><path d="M14 5h4v14h-4M4 12h10M10.5 8.5 14 12l-3.5 3.5" /></Icon>;
export const Bolt = () => <Icon><path d="M13 3 5.5 13.500H12L11 21l7.5-10.500H12L13 3Z" /></Icon>;
export const Thought = () => (
  <Icon><path d="M9.5 18.500h5M10.5 21h3M12 3a6 6 0 0 0-3.5 10.900c.7.6 1 1.3 1 2.100h5c0-.8.3-1.5 1-2.100A6 6 0 0 0 12 3Z" /></Icon>
);
export const Warning = () => <Icon><path d="M12 4 2.8 19.500h18.400L12 4ZM12 10v4.500M12 17.200v.1" /></Icon>;
